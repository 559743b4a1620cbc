"""Tensorpack's spellings of the arguments of parallel stages, with today's names."""

from __future__ import annotations

__all__ = ["OLD_SPELLINGS"]

OLD_SPELLINGS = {
    "nr_proc": "num_proc",
    "nr_prefetch": "num_prefetch",
    "hwm": "num_prefetch",
    "nr_thread": "num_thread",
}
