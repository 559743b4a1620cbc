"""Callbacks: everything of a training that is neither data nor graph. One idea a file."""

from . import schedules
from .base import HOOKS, STEP_HOOKS, Callback, TrainerView, uses_steps
from .check import check_callback

__all__ = ["HOOKS", "STEP_HOOKS", "Callback", "TrainerView", "check_callback", "schedules", "uses_steps"]
