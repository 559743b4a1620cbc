"""CSV cells: splitting a row, guessing a column's type, parsing text as a number, bool or str.

Types are guessed as ``pandas.read_csv`` does (https://pandas.pydata.org/docs/reference/api/pandas.read_csv.html).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np

from ...utils.errors import DataFlowError
from ..core.datapoint import Component

__all__ = ["MISSING_WORDS", "CellSplitter", "Column", "guess_kind", "only_digits"]

MISSING_WORDS = frozenset(
    ["#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"]
    + ["NULL", "NaN", "None", "n/a", "nan", "null"]
)
"""What stands for no value in columns of numbers, as in pandas; the empty cell does everywhere."""

_TRUE, _FALSE = {"true", "yes", "t", "y", "1"}, {"false", "no", "f", "n", "0"}
_GUESSED_BOOLS = {"True", "TRUE", "true", "False", "FALSE", "false"}
_INT = re.compile(r"[\t-\r ]*[+-]?[0-9]+[\t-\r ]*")
_FLOAT = re.compile(
    r"[\t-\r ]*[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf(?:inity)?)[\t-\r ]*", re.IGNORECASE
)
_MOST_DIGITS = 640  # more than this Python may refuse to read
_EXACT = 1 << 53  # from here on, float64 does not hold every whole number

Parser = Callable[[str], Any]


class CellSplitter:
    """Splits a row into cells.

    Only a quote at the start of a cell is a quote, as in pandas: ``12" monitor`` is a cell like any other.

    Args:
        delimiter: The character between cells.
        quote: The quote character; None: there is none.
    """

    def __init__(self, delimiter: str, quote: str | None) -> None:
        self._delimiter, self._quote = delimiter, quote
        if quote is not None:
            d, q = re.escape(delimiter), re.escape(quote)
            # Possessive (*+): without backtracking the time is linear, also for a cell of many quotes.
            quoted = rf"{q}([^{q}]*+(?:{q}{q}[^{q}]*+)*+){q}"
            self._cell = re.compile(rf"(?:{quoted}|((?!{q})[^{d}]*+))({d}|\Z)", re.DOTALL)

    def split(self, row: str) -> list[str]:
        """The cells of a row.

        Raises:
            ValueError: A cell goes on after the quote that ends it.
        """
        quote = self._quote
        if quote is None or quote not in row:  # most rows: no regular expression
            return row.split(self._delimiter)
        cells, at = [], 0
        while True:
            found = self._cell.match(row, at)
            if found is None:
                what = f"a cell goes on after the quote that ends it: {row[at : at + 40]!r}"
                raise ValueError(f"{what}. If quotes mean nothing in this file, pass quoting=None")
            quoted, plain, delimiter = found.groups()
            cells.append(plain if quoted is None else quoted.replace(quote * 2, quote))
            if not delimiter:
                return cells
            at = found.end()


class Column:
    """How the cells of a column are read.

    Args:
        name: The column's name, or number.
        kind: ``int``, ``float``, ``bool``, ``str``, a NumPy dtype, or a function of the text.
        words: Words that stand for no value, besides the empty cell; None: the usual ones, in columns of numbers and
            bools.
        fill: The value for cells without a value, in a list; empty: the type's own, or an error.
        guessed: Whether the type was guessed: then a float that would round a whole number is an error.

    Raises:
        DataFlowError: The type is none of these.
    """

    def __init__(
        self, name: str, kind: object, words: Collection[str] | None, fill: list[Any], guessed: bool = False
    ) -> None:
        self.name = name
        self._parse, self.wanted, nothing = _parser(kind)
        if guessed and kind in _GUESSED:
            self._parse = _GUESSED[kind]
        self._nothing = fill or nothing
        # Text is kept as it is: NA may be Namibia's country code.
        usual = () if self.wanted in (_TEXT, _OF_A_FUNCTION) else MISSING_WORDS
        self._words = frozenset(["", *(usual if words is None else words)])
        if self.wanted == _OF_A_FUNCTION and not fill:
            self._words = frozenset()  # the function gets every cell, the empty ones too

    def read(self, text: str) -> Component:
        """The value of a cell.

        Raises:
            ValueError: It is not of the column's type; the message says what would be.
        """
        if text in self._words:
            if not self._nothing:
                what = f"{text!r} is not {self.wanted}. Pass missing={{{self.name!r}: ...}} for cells without a value"
                raise ValueError(what)
            return self._nothing[0]
        try:
            return self._parse(text)
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"{text[:80]!r} is not {self.wanted} ({error})") from error


def guess_kind(texts: Iterable[str], words: Collection[str] | None, name: str) -> type:
    """The first of int, float, bool and str that can hold all cells, by the rules of ``pandas.read_csv``.

    Args:
        texts: The cells.
        words: Words that stand for no value, besides the empty cell; None: the usual ones.
        name: The column, for errors.

    Raises:
        DataFlowError: The cells are whole numbers that float64 does not hold, and some have no value.
    """
    nothing = {"", *(MISSING_WORDS if words is None else words)}
    all_texts = set(texts)
    filled = all_texts - nothing
    if not filled:
        return float
    if all(map(_INT.fullmatch, filled)):
        if max(map(len, filled)) > _MOST_DIGITS:
            return str
        numbers = [int(text) for text in filled]
        if len(filled) == len(all_texts):
            signed = any("-" in text for text in filled)  # -0 too
            fits = min(numbers) >= -(1 << 63) and max(numbers) < (1 << 63 if signed else 1 << 64)
            return int if fits else str
        if max(map(abs, numbers)) > _EXACT:
            raise DataFlowError(
                f"column {name!r} has whole numbers above 2**53 and cells without a value: as floats, which alone have "
                f"nan, they would be rounded. Pass columns={{{name!r}: int, ...}} with missing={{{name!r}: ...}}"
            )
        return float
    if all(map(_FLOAT.fullmatch, filled)):
        return float
    return bool if filled <= _GUESSED_BOOLS and len(filled) == len(all_texts) else str


_TEXT, _OF_A_FUNCTION = "text", "what its function takes"


def _parser(kind: Any) -> tuple[Parser, str, list[Any] | None]:
    """What reads a column of this type.

    Returns:
        The function that parses a cell; what it expects, for errors; the value of a cell without a value, in a list,
        or None where such a cell is an error.
    """
    if kind is int:
        return _int, "an int", None
    if kind is float:
        return _float, "a float", [math.nan]
    if kind is bool:
        return _bool, "a bool (true, false, yes, no, 1, 0)", None
    if kind is str:
        return str, _TEXT, [""]
    if callable(kind) and not (isinstance(kind, type) and issubclass(kind, np.generic)):
        return kind, _OF_A_FUNCTION, None
    try:
        dtype = np.dtype(kind)
    except TypeError:
        raise DataFlowError(
            f"{kind!r} is no type of a column: int, float, str, bool, a NumPy dtype or a function"
        ) from None
    if dtype.kind == "b":
        return lambda text: np.bool_(_bool(text)), "a bool", None
    if dtype.kind == "f":
        return lambda text: _narrow(text, dtype), str(dtype), [dtype.type("nan")]
    if dtype.kind in "iu":
        return lambda text: dtype.type(_int(text)), str(dtype), None
    if dtype.kind == "U":
        return lambda text: dtype.type(text), _TEXT, [dtype.type("")]
    return lambda text: dtype.type(text), str(dtype), None


def only_digits(text: str) -> str:
    """Return the text of a number; refuse what Python would read as one and no other program does.

    Raises:
        ValueError: It has an underscore, or is not ASCII.
    """
    # Python's int() and float() also read 1_23 as 123, and the digits of every script.
    if "_" in text or not text.isascii():
        raise ValueError("only the digits 0 to 9 make a number")
    return text


def _int(text: str) -> int:
    return int(only_digits(text))


def _float(text: str) -> float:
    return float(only_digits(text))


def _narrow(text: str, dtype: np.dtype) -> np.generic:
    with np.errstate(over="ignore"):
        value = dtype.type(only_digits(text))
    if np.isinf(value) and math.isfinite(float(text)):  # "inf" itself is a value; 1e300 in float32 is an overflow
        raise ValueError(f"it is beyond {dtype}")
    return value


def _exact_float(text: str) -> float:
    value = _float(text)
    if len(text) > 15 and _INT.fullmatch(text) and int(text) != value:  # 15 digits are always exact
        raise ValueError("it would be rounded. Pass columns={..., this column: float} where that is meant, or str")
    return value


def _bool(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered not in _TRUE and lowered not in _FALSE:
        raise ValueError("no truth value")
    return lowered in _TRUE


def _guessed_bool(text: str) -> bool:
    if text not in _GUESSED_BOOLS:
        raise ValueError(
            "where bools are guessed, these are True and False. Pass columns={..., this column: bool} or str"
        )
    return text[0] in "Tt"


_GUESSED: dict[Any, Parser] = {float: _exact_float, bool: _guessed_bool}
"""What is stricter where the type was guessed than where it was asked for."""
