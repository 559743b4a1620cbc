"""The default seed, of every flow and every initializer that is given none."""

from __future__ import annotations

import logging
import secrets
from typing import Literal

from .arguments import as_int
from .errors import ConfigError

__all__ = ["default_seed", "resolve_seed", "set_seed"]

_default = 0
_LIMIT = 2**63


def set_seed(seed: int) -> None:
    """Set the seed of all flows and models that are built from now on without one.

    Args:
        seed: A whole number from 0 to 2**63 - 1. It is 0 until this is called.

    Raises:
        ConfigError: The seed is not such a number.

    Example:
        >>> set_seed(7)
        >>> default_seed()
        7
    """
    global _default
    _default = _checked(seed)


def default_seed() -> int:
    """Return the seed that ``set_seed`` set last; 0 at the start."""
    return _default


def resolve_seed(seed: int | Literal["random"] | None) -> int:
    """Turn a ``seed=`` argument into a number.

    Args:
        seed: A number; None for the default seed; or ``"random"`` for one that is drawn from the system, and logged so
            that the run can be repeated.

    Returns:
        A whole number from 0 to 2**63 - 1.

    Raises:
        ConfigError: Anything else was given.
    """
    if seed is None:
        return _default
    if isinstance(seed, str) and seed == "random":
        drawn = secrets.randbelow(_LIMIT)
        logging.getLogger("flowtrain").info("seed='random' drew %d; pass seed=%d to get the same data", drawn, drawn)
        return drawn
    return _checked(seed)


def _checked(seed: object) -> int:
    number = as_int(seed)
    if number is None or not 0 <= number < _LIMIT:
        raise ConfigError(f"a seed is a whole number from 0 to 2**63 - 1, None or 'random'; got {seed!r}")
    return number
