"""How a command shows an error."""

from __future__ import annotations

__all__ = ["in_one_line"]


def in_one_line(error: BaseException) -> str:
    """An error and its cause, as one line of text."""
    cause = error.__cause__
    text = f"{error} ({type(cause).__name__}: {cause})" if cause else str(error)
    return " ".join(text.split())
