"""Wrappers around the methods of users' flow classes: their errors name the stage, the epoch and the datapoint.

``DataFlow.__init_subclass__`` puts them around the methods that a class defines itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import MethodType
from typing import TYPE_CHECKING, Any, NoReturn
from weakref import WeakKeyDictionary

import numpy as np

from ...utils.arguments import unknown_attribute
from ...utils.errors import USER_ERRORS
from . import process

if TYPE_CHECKING:
    from .base import DataFlow
    from .cursor import Datapoint

__all__ = ["GUARDS", "OLD_METHODS", "Absent", "at_home", "counted", "recorded", "unguarded"]

_MISSING = object()  # stands for the value of an attribute that is not set


class Absent:
    """Descriptor of an attribute that flows do not have: the AttributeError says what to write instead.

    A ``__getattr__`` would do the same, and make every attribute of every flow slower: the interpreter does not
    specialise the look-up on classes that define it. An instance may still set the attribute, and then has it.
    """

    def __init__(self, instead: str, name: str = "") -> None:
        self._instead, self._name = instead, name
        self.__doc__ = None  # for tools that list what a class has

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, flow: DataFlow, kind: type) -> NoReturn:
        raise AttributeError(unknown_attribute(kind if flow is None else flow, self._name, {self._name: self._instead}))


def counted(user_iter: Callable[[Any], Any]) -> Callable[[Any], Iterator[Datapoint]]:
    """Wrap a class's own ``__iter__``: iterating it goes through a cursor, which counts and so knows the position."""

    @functools.wraps(user_iter)
    def __iter__(self: DataFlow) -> Iterator[Datapoint]:
        if type(self)._user_iter is not user_iter:  # a subclass's __iter__ calls this one through super()
            return user_iter(self)
        return self._start()

    return __iter__


def recorded(user_reset: Callable[[Any], None]) -> Callable[[Any], None]:
    """Wrap a class's ``reset_state``: the flow notes which attributes it sets, and errors name the method."""

    @functools.wraps(user_reset)
    def reset_state(self: DataFlow) -> None:
        before = at_home(self)  # on a second call too, the values of before the first one
        try:
            user_reset(self)
        except USER_ERRORS as error:
            self._fail_in(error, "reset_state")
        self._opened = None  # so that at_home shows below what is open now
        self._opened = {
            name: (before.get(name, _MISSING), value)
            for name, value in at_home(self).items()
            if before.get(name, _MISSING) is not value
        }

    return reset_state


def at_home(flow: DataFlow) -> dict[str, Any]:
    """The attributes of a flow for pickling: without caches, and what ``reset_state`` opened for this process."""
    # What it opened is found by comparing the attributes before and after it (see recorded): a file handle cannot be
    # pickled for a worker, and a list of names would be one more duty of whoever writes a source.
    state = flow.__dict__.copy()
    for name in ("_latest", "_reset_in", "_opened"):
        state.pop(name, None)
    state.update(dict.fromkeys(flow._caches))
    for name, (before, after) in (flow._opened or {}).items():
        if state.get(name, _MISSING) is not after:
            continue  # it has been set to something else since
        if before is _MISSING:
            del state[name]
        else:
            state[name] = before
    return state


def _guarded_get(user_get: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a user's ``get``: whoever calls it, ``reset_state`` comes first, and errors name the datapoint."""

    @functools.wraps(user_get)
    def get(self: DataFlow, index: int, epoch: int = 0) -> Datapoint:
        if self._reset_in is not process.current:
            self._ensure_reset()
        try:
            return user_get(self, index, epoch)
        except USER_ERRORS as error:
            self._fail(error, index, epoch)

    _UNGUARDED[get] = user_get
    return get


_UNGUARDED: WeakKeyDictionary[Any, Callable[..., Any]] = WeakKeyDictionary()


def unguarded(get: Callable[..., Datapoint]) -> Callable[..., Datapoint]:
    """A flow's ``get`` without its guard, for a caller that opens the files and names the datapoint itself."""
    # Not by __wrapped__: a decorator of the user's own may have set that too, and must not be left out. `explain` puts
    # an object in place of the method, which has no __func__: its measuring must not be left out either.
    function = getattr(get, "__func__", None)
    user_get = None if function is None else _UNGUARDED.get(function)
    return get if user_get is None else MethodType(user_get, get.__self__)  # type: ignore[attr-defined]


def _guarded_get_batch(user_get_batch: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(user_get_batch)
    def get_batch(self: DataFlow, indices: np.ndarray, epoch: int = 0) -> Datapoint:
        if self._reset_in is not process.current:
            self._ensure_reset()
        try:
            return user_get_batch(self, indices, epoch)
        except USER_ERRORS as error:
            which = f"datapoints {indices[0]} to {indices[-1]}" if len(indices) else "no datapoints"
            self._fail_in(error, f"get_batch, epoch {epoch}, {which}")

    return get_batch


def _guarded_len(user_len: Callable[..., int]) -> Callable[..., int]:
    @functools.wraps(user_len)
    def __len__(self: DataFlow) -> int:
        try:
            return user_len(self)
        except TypeError:  # says that the length is not known
            raise
        except USER_ERRORS as error:
            self._fail_in(error, "__len__")

    return __len__


GUARDS: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "get": _guarded_get,
    "get_batch": _guarded_get_batch,
    "__len__": _guarded_len,
}
"""Method -> its wrapper, for classes outside flowtrain; ours name the datapoint where they call a user's function."""

OLD_METHODS = {
    "size": "write len(ds), or ds.size_or_none() where it may be unknown.",
    "get_data": "iterate over the flow itself; in a class of your own define __iter__, or get(index, epoch).",
    # of tf.data
    "map": "write MapData(ds, function), whose function gets the whole datapoint.",
    "batch": "write BatchData(ds, batch_size).",
    "shuffle": "write ShuffleData(ds), or shuffle=True where the source takes it.",
    "repeat": "write RepeatedData(ds, num); a trainer starts each epoch anew by itself.",
    "take": "write TakeData(ds, num).",
    "skip": "write SkipData(ds, num).",
    "prefetch": "write PrefetchData(ds, num_proc=2).",
    "filter": "write FilterData(ds, function).",
    "zip": "write JoinData([a, b]).",
    "concatenate": "write ConcatData([a, b]).",
    "cache": "write CacheData(ds).",
}
"""Methods of other libraries' flows -> what to write, for `Absent`."""
