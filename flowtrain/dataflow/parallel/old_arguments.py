"""What parallel stages refuse: old spellings of their arguments, and positions of another kind of flow."""

from __future__ import annotations

__all__ = ["OLD_SPELLINGS"]

OLD_SPELLINGS = {
    "nr_proc": "num_proc",
    "nr_prefetch": "num_prefetch",
    "hwm": "num_prefetch",
    "nr_thread": "num_thread",
}
