"""Schemas of plain values that come from outside (a manifest, a message), and the check of a value against one.

A schema is data: it says which fields there are, their types, ranges and sizes, and the whole value is checked before
anything is done with it. A field that the schema does not list is an error: a key that was damaged would otherwise look
like one that is absent.

A value nests at most as deep as its schema, except beneath `Anything`, which has a depth of its own.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "Anything",
    "Flag",
    "ListOf",
    "MapOf",
    "Nothing",
    "Nullable",
    "Number",
    "Record",
    "Row",
    "Schema",
    "Text",
    "Whole",
    "mismatch",
]

_SHOWN = 60  # characters of a wrong value in a message


class Schema:
    """Base of schemas; ``str()`` of one says what it expects, for messages."""

    def problems(self, value: object, path: str) -> Iterator[str]:
        """Yield what is wrong with the value, lazily: callers read the first problem only."""
        raise NotImplementedError


def mismatch(value: object, schema: Schema, path: str = "it") -> str | None:
    """Check a value against a schema.

    Args:
        value: Anything. Types are compared exactly: a bool is no int.
        schema: The schema.
        path: What the value is called in the message.

    Returns:
        The first thing that is wrong ("files['a']['bytes'] is -1, not a whole number of at least 0"), or None.

    Example:
        >>> schema = Record({"size": Nullable(Whole(0)), "part": Row(Whole(0), Whole(1))})
        >>> mismatch({"size": None, "part": [0, 1]}, schema)
        >>> mismatch({"size": "many", "part": [0, 1]}, schema, "hello")
        "hello['size'] is 'many', not a whole number from 0 to 9223372036854775807 or null"
    """
    return next(iter(schema.problems(value, path)), None)


def _wrong(value: object, path: str, expected: str) -> Iterator[str]:
    yield f"{path} is {_shown(value)}, not {expected}"


def _shown(value: object) -> str:
    if isinstance(value, (list, tuple, dict)):
        return f"a {type(value).__name__} of {len(value)}"  # its repr may be of any size and depth
    if isinstance(value, (str, bytes)):
        return repr(value[:_SHOWN]) + ("..." if len(value) > _SHOWN else "")
    if isinstance(value, int) and value.bit_length() > 64:
        return f"a whole number of {value.bit_length()} bits"
    if value is None or isinstance(value, (int, float)):
        return repr(value)
    return f"a {type(value).__name__}"


@dataclass(frozen=True)
class Nothing(Schema):
    """The value None."""

    def problems(self, value: object, path: str) -> Iterator[str]:
        if value is not None:
            yield from _wrong(value, path, str(self))

    def __str__(self) -> str:
        return "null"


@dataclass(frozen=True)
class Whole(Schema):
    """An int (not a bool) in a range, ends included."""

    least: int = -(2**63)
    most: int = 2**63 - 1

    def problems(self, value: object, path: str) -> Iterator[str]:
        if type(value) is not int or not self.least <= value <= self.most:
            yield from _wrong(value, path, str(self))

    def __str__(self) -> str:
        return f"a whole number from {self.least} to {self.most}"


@dataclass(frozen=True)
class Number(Schema):
    """An int or float from `least` to `most`: finite, and an int is not beyond what a float can be."""

    least: float = -sys.float_info.max
    most: float = sys.float_info.max

    def problems(self, value: Any, path: str) -> Iterator[str]:
        # an int is compared as it is: float() of one with 400 digits is an OverflowError; NaN is in no range
        if type(value) not in (int, float) or not self.least <= value <= self.most:
            yield from _wrong(value, path, str(self))

    def __str__(self) -> str:
        return "a finite number" if self.least == -sys.float_info.max else f"a finite number of at least {self.least:g}"


@dataclass(frozen=True)
class Flag(Schema):
    """A bool."""

    def problems(self, value: object, path: str) -> Iterator[str]:
        if type(value) is not bool:
            yield from _wrong(value, path, str(self))

    def __str__(self) -> str:
        return "true or false"


@dataclass(frozen=True)
class Text(Schema):
    """A str of at most `longest` characters, all of which match `pattern`."""

    longest: int = 1000
    pattern: str = r"(?s:.*)"
    what: str = ""

    def problems(self, value: object, path: str) -> Iterator[str]:
        if type(value) is not str or len(value) > self.longest or not re.fullmatch(self.pattern, value):
            yield from _wrong(value, path, str(self))

    def __str__(self) -> str:
        return self.what or f"a text of at most {self.longest} characters"


@dataclass(frozen=True)
class Nullable(Schema):
    """None, or a value of another schema."""

    schema: Schema

    def problems(self, value: object, path: str) -> Iterator[str]:
        if value is not None:
            for problem in self.schema.problems(value, path):
                yield f"{problem} or null"

    def __str__(self) -> str:
        return f"{self.schema} or null"


@dataclass(frozen=True)
class ListOf(Schema):
    """A list or tuple of any number of alike elements."""

    schema: Schema
    longest: int = 2**31

    def problems(self, value: Any, path: str) -> Iterator[str]:
        if type(value) not in (list, tuple) or len(value) > self.longest:
            yield from _wrong(value, path, str(self))
            return
        for index, element in enumerate(value):
            yield from self.schema.problems(element, f"{path}[{index}]")

    def __str__(self) -> str:
        return f"a list of at most {self.longest} elements"


class Row(Schema):
    """A list or tuple with as many elements as schemas, one for each."""

    def __init__(self, *schemas: Schema) -> None:
        self.schemas = schemas

    def problems(self, value: Any, path: str) -> Iterator[str]:
        if type(value) not in (list, tuple) or len(value) != len(self.schemas):
            yield from _wrong(value, path, str(self))
            return
        for index, (element, schema) in enumerate(zip(value, self.schemas, strict=True)):
            yield from schema.problems(element, f"{path}[{index}]")

    def __str__(self) -> str:
        return f"a list of {len(self.schemas)} elements"


@dataclass(frozen=True)
class MapOf(Schema):
    """A dict of any number of alike entries."""

    key: Schema
    schema: Schema
    least: int = 0
    longest: int = 2**31

    def problems(self, value: object, path: str) -> Iterator[str]:
        if type(value) is not dict or not self.least <= len(value) <= self.longest:
            yield from _wrong(value, path, str(self))
            return
        for key, element in value.items():
            yield from self.key.problems(key, f"a key of {path}")
            yield from self.schema.problems(element, f"{path}[{_shown(key)}]")

    def __str__(self) -> str:
        return f"a mapping of at least {self.least} entries" if self.least else "a mapping"


@dataclass(frozen=True)
class Record(Schema):
    """A dict with given keys.

    Args:
        fields: Key -> schema; all have to be there.
        optional: Key -> schema of those that may be missing.
        others: The schema of all other keys' values; None: there must be no others.
    """

    fields: Mapping[str, Schema]
    optional: Mapping[str, Schema] = field(default_factory=dict)
    others: Schema | None = None

    def problems(self, value: object, path: str) -> Iterator[str]:
        if type(value) is not dict:
            yield from _wrong(value, path, str(self))
            return
        for key, schema in self.fields.items():
            if key in value:
                yield from schema.problems(value[key], f"{path}[{key!r}]")
            else:
                yield f"{path} lacks {key!r}"
        for key, element in value.items():
            if key not in self.fields:
                schema = self.optional.get(key, self.others)
                if schema is None:
                    yield f"{path} has a key {_shown(key)}, which has no meaning there"
                else:
                    yield from schema.problems(element, f"{path}[{_shown(key)}]")

    def __str__(self) -> str:
        return "a mapping with " + ", ".join(map(repr, self.fields))


@dataclass(frozen=True)
class Anything(Schema):
    """Any value that nests lists, tuples and dicts at most `depth` deep; None: as deep as it came."""

    depth: int | None = 50

    def problems(self, value: object, path: str) -> Iterator[str]:
        if self.depth is None:
            return
        level, depth = [value] if isinstance(value, (list, tuple, dict)) else [], 0
        while level:  # level by level and not by recursion, which the value could exhaust
            depth += 1
            if depth > self.depth:
                yield f"{path} is nested more than {self.depth} deep"
                return
            level = [
                part
                for container in level
                for part in (container.values() if isinstance(container, dict) else container)
                if isinstance(part, (list, tuple, dict))
            ]

    def __str__(self) -> str:
        return "any value" if self.depth is None else f"a value nested at most {self.depth} deep"
