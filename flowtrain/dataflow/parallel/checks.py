"""What parallel stages refuse: old spellings of their arguments, and positions of another kind of flow."""

from __future__ import annotations

from typing import Any

from ...utils.errors import StateError

__all__ = ["OLD_SPELLINGS", "checked_position"]

OLD_SPELLINGS = {
    "nr_proc": "num_proc",
    "nr_prefetch": "num_prefetch",
    "hwm": "num_prefetch",
    "nr_thread": "num_thread",
}


def checked_position(stage: Any, state: Any) -> int:
    """A saved position in an indexable flow, as an index."""
    if state is None:
        return 0
    if not isinstance(state, int):
        raise StateError(f"{stage}: the saved position {state!r:.80} is of another kind of flow")
    size = stage.size_or_none()
    if size is not None and state > size:
        raise StateError(f"the saved position is {state}, but {stage} has only {size} datapoints")
    return state
