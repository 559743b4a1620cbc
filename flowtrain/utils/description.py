"""Descriptions of objects by their arguments, as JSON values: equal for two objects made alike, in any process.

Used where runs are compared: in the config that is logged, and in a checkpoint about the run that saved it. No
address, no time and no order of a set gets into a description; large data and functions are in it as hashes.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import inspect
import math
import os
import re
import types
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

import numpy as np

from .dtypes import contiguous

__all__ = ["arguments_of", "describe", "type_name"]

Description: TypeAlias = str | int | float | bool | list[Any] | dict[str, Any] | None
"""What JSON can hold."""

_DEPTH = 12
_SHORT = 200  # characters of a text, beyond which it is cut and hashed
_FEW = 16  # items of a container, beyond which it is hashed
_WHOLE = 4 << 20  # bytes of an array that are hashed; of a larger one about as many, spread over it
_DATA = (np.ndarray, list, tuple, dict, str, int, float, os.PathLike, types.FunctionType)
_COUNTED = re.compile(r"_\d+$")
_ADDRESS = re.compile(r"\bat 0x[0-9a-f]+|\b0x[0-9a-f]{6,}", re.IGNORECASE)


def describe(value: object, depth: int = _DEPTH) -> Description:
    """Describe a value.

    Args:
        value: Anything: numbers, strings, arrays, functions, objects with arguments.
        depth: How many levels of objects and containers to go into.

    Returns:
        JSON values. An object becomes ``{"type": name, argument: value, ...}`` with the arguments of `arguments_of`; a
        function its name and a hash of its code, defaults and closure; an array its dtype, shape and a hash of its
        content.

    Example:
        >>> import numpy as np
        >>> describe([1, 0.5, np.zeros(2)])
        [1, 0.5, 'float64 array (2,) #...']
    """
    if value is None or (isinstance(value, bool | int | str) and not isinstance(value, enum.Enum)):
        return _shortened(value) if isinstance(value, str) else value
    if isinstance(value, float):
        return _shortest(value) if math.isfinite(value) else str(value)
    if isinstance(value, os.PathLike):
        return _shortened(os.fspath(value))
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{len(value)} bytes #{_hash(bytes(value))}"
    if isinstance(value, np.ndarray):
        return f"{value.dtype} array {value.shape} #{_hash_of_array(value)}"
    if isinstance(value, np.generic):
        item = value.item()  # of a longdouble it is one again: Python has no such number
        return str(value) if isinstance(item, np.generic) else describe(item, depth)
    if isinstance(value, type):
        return type_name(value)
    if isinstance(value, enum.Enum | np.dtype):
        return str(value)
    if depth <= 0:
        return type_name(type(value))
    if isinstance(value, Mapping):
        return _described_mapping(value, depth)
    if isinstance(value, list | tuple):
        return _described_list(value, depth)
    if isinstance(value, set | frozenset):
        return sorted((describe(item, depth - 1) for item in value), key=str)
    if isinstance(value, functools.partial):
        return {"partial": describe(value.func, depth - 1), "arguments": describe([*value.args, value.keywords], depth)}
    if isinstance(value, types.MethodType):
        return (
            f"{type_name(type(value.__self__))}.{value.__func__.__name__} #{_hash_of_function(value.__func__, depth)}"
        )
    if isinstance(value, types.FunctionType):
        return f"function {value.__qualname__} #{_hash_of_function(value, depth)}"
    if callable(value) and not hasattr(value, "__dict__"):
        return getattr(value, "__qualname__", None) or getattr(value, "__name__", type_name(type(value)))
    get_config = getattr(value, "get_config", None)
    if callable(get_config):  # Keras's optimizers, schedules, losses, layers
        made = dict(cast(Mapping[str, Any], get_config()))
        if _COUNTED.sub("", str(made.get("name"))).replace("_", "") == type(value).__name__.lower():
            del made["name"]  # given by Keras: it counts the objects of the process
        return {"type": type_name(type(value)), **{str(name): describe(item, depth - 1) for name, item in made.items()}}
    return _described_object(value, depth)


def arguments_of(thing: object, private: bool = False) -> dict[str, Any]:
    """Find the arguments that an object was made with, without those that equal their defaults.

    An argument is looked for as an attribute of its name, with or without a leading underscore. If one is not kept
    under its name, all other attributes that hold data or functions are listed in its place.

    Args:
        thing: The object.
        private: Whether private attributes are listed too: for a class that keeps its data there, and no counters.
    """
    found: dict[str, Any] = {}
    missing = False
    try:
        parameters = inspect.signature(type(thing).__init__).parameters
    except (TypeError, ValueError):
        return found
    attributes = getattr(thing, "__dict__", {})
    seen: set[str] = set()
    for name, parameter in parameters.items():
        for attribute in (name, f"_{name}"):
            if name != "self" and attribute in attributes:
                value = attributes[attribute]
                seen.add(attribute)
                if not _same(value, parameter.default):
                    found[name] = value
                break
        else:
            missing = missing or name != "self"
    if missing:
        for name, value in attributes.items():
            hidden = name.startswith("_") and not private
            if name not in seen and not hidden and isinstance(value, _DATA):
                found[name.lstrip("_")] = value
    return found


def type_name(kind: type) -> str:
    """Return a class's name, with its module unless that is part of flowtrain or the script that runs."""
    module = kind.__module__
    if module.startswith("keras.src."):  # where Keras keeps a class is no part of its name
        return f"keras.{kind.__qualname__}"
    plain = module in ("__main__", "builtins") or module.partition(".")[0] == __name__.partition(".")[0]
    return kind.__qualname__ if plain else f"{module}.{kind.__qualname__}"


def _shortest(value: float) -> float:
    """Return 0.05 for 0.05000000074505806: what was kept as a float32 is described as it was written."""
    with np.errstate(over="ignore"):
        single = np.float32(value)
    return float(str(single)) if single == value else value


def _described_object(value: object, depth: int) -> Description:
    arguments = arguments_of(value)
    if not arguments and type(value).__repr__ is not object.__repr__ and not hasattr(value, "__dict__"):
        return _shortened(_ADDRESS.sub("", repr(value)))
    described = {name: describe(argument, depth - 1) for name, argument in arguments.items()}
    return {"type": type_name(type(value)), **described} if described else type_name(type(value))


def _described_mapping(value: Mapping[Any, Any], depth: int) -> Description:
    if len(value) > _FEW:
        return f"dict of {len(value)} #{_hash(repr([[str(k), describe(value[k], depth - 1)] for k in value]).encode())}"
    return {str(name): describe(item, depth - 1) for name, item in value.items()}


def _described_list(value: list[Any] | tuple[Any, ...], depth: int) -> Description:
    if len(value) <= _FEW:
        return [describe(item, depth - 1) for item in value]
    step = max(1, len(value) // 1000)
    sample = [describe(item, depth - 1) for item in (*value[::step], value[-1])]
    return f"{type(value).__name__} of {len(value)} #{_hash(repr(sample).encode())}"


def _shortened(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}... #{_hash(text.encode())}"


def _same(value: object, default: object) -> bool:
    try:
        return type(value) is type(default) and bool(value == default)
    except (TypeError, ValueError):  # arrays
        return False


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=4).hexdigest()


def _hash_of_array(array: np.ndarray) -> str:
    if array.dtype.hasobject:  # its bytes are addresses
        flat = array.ravel()
        return _hash(repr([describe(item, 2) for item in flat[:: max(1, flat.size // 1000)]]).encode())
    if array.nbytes > _WHOLE:
        rows = array.reshape(array.shape[0], -1) if array.ndim and array.shape[0] > 1 else array.reshape(-1, 1)
        step = max(1, array.nbytes // _WHOLE)
        array = np.concatenate([rows[::step], rows[-1:]])
    return _hash(contiguous(array).tobytes())


def _hash_of_function(function: Callable[..., Any], depth: int) -> str:
    parts: list[Any] = [_of_code(function.__code__)]
    parts.append(describe(list(function.__defaults__ or ()), min(depth - 1, 3)))
    parts.append(describe(dict(function.__kwdefaults__ or {}), min(depth - 1, 3)))
    for cell in function.__closure__ or ():
        try:
            parts.append(describe(cell.cell_contents, min(depth - 1, 3)))
        except ValueError:  # an empty cell
            parts.append(None)
    return _hash(repr(parts).encode())


def _of_code(code: types.CodeType) -> list[Any]:
    """Return what a function's code does, without its file and lines: moving it must not change its hash."""
    constants = [
        _of_code(constant)
        if isinstance(constant, types.CodeType)
        else repr(constant)
        if not isinstance(constant, frozenset)
        else sorted(map(repr, constant))
        for constant in code.co_consts
    ]
    return [code.co_code.hex(), constants, code.co_names, code.co_varnames]
