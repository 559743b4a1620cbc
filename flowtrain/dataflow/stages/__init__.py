"""One flow over another: map, select, augment, batch, shuffle, repeat, combine, mix, slice, expand, cache."""
