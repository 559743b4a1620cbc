"""Flows over other flows: map, select, augment, batch, shuffle, repeat, combine, mix, slice, expand, cache."""
