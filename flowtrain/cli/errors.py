"""Errors as one line of text."""

from __future__ import annotations

__all__ = ["in_one_line"]


def in_one_line(error: BaseException) -> str:
    """An error's message, with its cause in parentheses, as one line of text."""
    cause = error.__cause__
    text = f"{error} ({type(cause).__name__}: {cause})" if cause else str(error)
    return " ".join(text.split())
