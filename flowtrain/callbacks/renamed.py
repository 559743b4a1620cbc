"""Arguments that are called otherwise elsewhere: named in the error, for who ports a script."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from flowtrain.utils.errors import ConfigError

__all__ = ["renamed"]

T = TypeVar("T", bound=type)


def renamed(**spellings: str) -> Callable[[T], T]:
    """Decorate a class: an argument in Tensorpack's spelling is an error that gives today's.

    Args:
        **spellings: The old name = what to write instead.

    Returns:
        The decorator.

    Example:
        >>> @renamed(max_to_keep="keep")
        ... class Saver:
        ...     def __init__(self, keep=10):
        ...         self.keep = keep
        >>> Saver(max_to_keep=3)
        Traceback (most recent call last):
            ...
        flowtrain.utils.errors.ConfigError: Saver: max_to_keep= is spelled keep= here.
    """

    def decorate(cls: T) -> T:
        original = cls.__init__

        @functools.wraps(original)
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
            for name in kwargs:
                if name in spellings:
                    raise ConfigError(f"{cls.__name__}: {name}= is spelled {spellings[name]}= here.")
            original(self, *args, **kwargs)

        cls.__init__ = __init__  # type: ignore[misc]
        return cls

    return decorate
