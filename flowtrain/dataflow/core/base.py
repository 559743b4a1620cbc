"""What a dataflow is: an iterable of datapoints that knows its position and, where it can, makes any datapoint alone.

A datapoint is a list or a dict of components: NumPy arrays, numbers, strings, bytes.

There are two kinds of flow. An *indexable* one defines ``get(index, epoch)``: all its randomness comes from (seed,
epoch, index), so any process can make any datapoint. One that is not defines ``_cursor`` (or, in a user's class,
``__iter__``), and can only be walked from its start. Serial iteration of an indexable flow is ``get`` of 0, 1, 2, ...:
that is the specification which everything parallel has to meet.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal, NoReturn

import numpy as np

from ...utils.arguments import unknown_attribute
from ...utils.errors import DataFlowError, StateError, annotate_error
from ...utils.seeding import resolve_seed
from .cursor import Cursor, Datapoint, IndexCursor, IterCursor, RetracedCursor, walk
from .explanation import Explanation
from .rng import RandomStream

__all__ = ["Cursor", "DataFlow", "Datapoint", "IndexCursor", "ProxyDataFlow", "RNGDataFlow"]


class DataFlow:
    """An iterable of datapoints.

    Subclass it in one of two ways. Where datapoint i can be made alone, define ``__len__`` and
    ``get(index, epoch)``: the flow is then exact under any number of workers and resumes at once. Else define
    ``__iter__``, as a generator.

    Each iteration is the flow's next epoch. ``state_dict`` gives the position of the latest one.

    Example:
        >>> class Squares(DataFlow):
        ...     def __len__(self):
        ...         return 4
        ...     def get(self, index, epoch=0):
        ...         return [index**2]
        >>> list(Squares())
        [[0], [1], [4], [9]]
    """

    explainer: ClassVar[Callable[..., Explanation]]  # set by the room that measures, which lies above this one
    _user_iter: ClassVar[Callable[..., Any] | None] = None
    _epoch: int = 0  # of the next iteration
    _resume: Any = None  # the position in it at which to start
    _latest: Cursor | None = None
    _reset_in: int = -1  # the process in which reset_state was called
    _advice: str = "make it cheaper"  # what explain says where this stage is the limit

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = cls.__dict__
        if "__iter__" in own:
            cls._user_iter = own["__iter__"]
            cls.__iter__ = _counted(own["__iter__"])  # type: ignore[method-assign]
        elif "get" in own or "_cursor" in own:
            cls._user_iter = None

    # ---------------------------------------------------------------- what a subclass may define

    def __len__(self) -> int:
        raise TypeError(f"the length of {self} is not known")

    def get(self, index: int, epoch: int = 0) -> Datapoint:
        """Make one datapoint alone: the way to look again at the one that an error named.

        Args:
            index: Its place in the epoch, from 0 to ``len(ds) - 1``.
            epoch: Which pass over the data, from 0.

        Returns:
            The datapoint, the same one that iteration gives at that place.

        Raises:
            DataFlowError: The flow is not indexable.
        """
        raise DataFlowError(f"{self._blocker()} cannot make datapoint {index} alone: it can only be iterated")

    def get_batch(self, indices: np.ndarray, epoch: int = 0) -> Any:
        """Make many datapoints at once, as columns; only where ``vectorized`` is true.

        Args:
            indices: int64 (N,).
            epoch: Which pass over the data, from 0.

        Returns:
            A list or dict of arrays with N rows each.
        """
        raise DataFlowError(f"{self} has no vectorized get_batch")

    @property
    def vectorized(self) -> bool:
        """Whether ``get_batch`` makes many datapoints faster than ``get`` one by one."""
        return False

    def reset_state(self) -> None:
        """Open what must not be shared between processes. Called before the first datapoint in each process."""

    def children(self) -> tuple[DataFlow, ...]:
        """The flows that this one takes its datapoints from."""
        return ()

    def _cursor(self, epoch: int, state: Any = None) -> Cursor:
        """The walk over one epoch; a stage that is not indexable defines its own."""
        if type(self).get is not DataFlow.get:
            return IndexCursor(self, epoch, state)
        raise DataFlowError(f"{type(self).__name__} defines neither __iter__ nor get(index, epoch): define one of them")

    def _begin(self, epoch: int) -> None:
        """Called when a walk over a user's own ``__iter__`` starts."""

    # ---------------------------------------------------------------- what every flow has

    @property
    def indexable(self) -> bool:
        """Whether ``get`` makes any datapoint alone."""
        return (
            self._user_iter is None
            and type(self).get is not DataFlow.get
            and all(child.indexable for child in self.children())
        )

    def size_or_none(self) -> int | None:
        """The number of datapoints of one epoch; None where it is unknown or the flow never ends."""
        try:
            return len(self)
        except TypeError:
            return None

    def __iter__(self) -> Iterator[Datapoint]:
        """Start the next epoch, or go on where a loaded state says."""
        if self._user_iter is not None and self._latest is not None:  # called by a user's __iter__ through super()
            return walk(self._cursor(self._latest.epoch))
        return self._start()

    def _start(self) -> Iterator[Datapoint]:
        self._ensure_reset()
        position, skip = RetracedCursor.parsed(self._resume)
        cursor = self._open(self._epoch, position)
        if skip or not cursor.knows_after_error:
            cursor = RetracedCursor(cursor, position, skip)
        self._epoch, self._resume = cursor.epoch + 1, None
        self._latest = cursor
        return walk(cursor)

    def state_dict(self) -> dict[str, Any]:
        """The position of the latest iteration, in a form that JSON or msgpack can hold.

        After an error in a function of the user's it is the position of the datapoint that failed: with the function
        mended, the flow goes on there.

        Returns:
            ``version``, ``epoch``, ``position`` (after the last datapoint handed out; None at an epoch's start)
            and ``seeds`` of the random stages.
        """
        latest = self._latest
        if latest is None or latest.exhausted:
            epoch, position = self._epoch, self._resume
        else:
            epoch, position = latest.epoch, latest.state()
        return {"version": 1, "epoch": epoch, "position": position, "seeds": [s.seed for s in self._random_stages()]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Make the next iteration go on at a saved position; the one after it is the following epoch.

        Args:
            state: What ``state_dict`` of a flow that is built alike gave, in this process or another.

        Raises:
            StateError: It is not such a dict, or the flow has other random stages.
        """
        missing = {"version", "epoch", "position", "seeds"} - set(state if isinstance(state, dict) else ())
        if missing or state["version"] != 1:
            raise StateError(f"not a dataflow's state (version 1): it lacks {sorted(missing)}; got {state!r:.200}")
        stages = self._random_stages()
        if len(stages) != len(state["seeds"]):
            raise StateError(
                f"the state is of a flow with {len(state['seeds'])} random stages, {self} has {len(stages)}: "
                f"{', '.join(map(str, stages)) or 'none'}. Build the flow as it was when the state was saved."
            )
        for stage, seed in zip(stages, state["seeds"], strict=True):
            stage._set_seed(seed)
        self._latest = None
        self._epoch, self._resume = state["epoch"], state["position"]

    def explain(
        self,
        n: int = 50,
        consumer: Callable[[Any], Any] | None = None,
        max_seconds: float = 30.0,
        quiet: bool = False,
    ) -> Explanation:
        """Print what each stage costs and what the limit is: the first thing to ask when training waits for data.

        A copy of the flow is run, with its workers, and each stage is timed where it runs. The flow itself and its
        position are left alone.

        Args:
            n: How many datapoints to measure, after the first.
            consumer: Called with each datapoint, as a training step would be: tells which of the two is the limit.
            max_seconds: Stop measuring after this time, however few datapoints there were.
            quiet: Print nothing.

        Returns:
            The table as an object; ``str()`` of it is what is printed.

        Raises:
            DataFlowError: An epoch of the flow is empty.
        """
        return self.explainer(self, n, consumer, max_seconds, quiet)

    def describe(self) -> str:
        """The stage's name with what tells it apart, as errors and tables show it."""
        return type(self).__name__

    def __repr__(self) -> str:
        return self.describe()

    # ---------------------------------------------------------------- for stages

    def _open(self, epoch: int, state: Any = None) -> Cursor:
        """The walk over one epoch from a position, as stages above ask for it."""
        if self._user_iter is not None:
            return IterCursor(self, epoch, state)
        return self._cursor(epoch, state)

    def _fail(self, error: Exception, index: int, epoch: int) -> NoReturn:
        """Raise a user's error again, with the stage, the epoch and the index in its message."""
        where = f"{self.describe()}, epoch {epoch}, datapoint {index}"
        if isinstance(error, StopIteration):  # it would end the epoch without a word
            raise DataFlowError(f"a function raised StopIteration [in {where}]") from error
        noted = annotate_error(error, where)
        try:
            if noted is error:
                raise noted
            raise noted from error
        finally:
            del error, noted  # the traceback holds this frame, and would hold itself and all that its frames hold

    def _ensure_reset(self) -> None:
        for child in self.children():
            child._ensure_reset()
        if self._reset_in != os.getpid():
            self._reset_in = os.getpid()
            self.reset_state()

    def _blocker(self) -> DataFlow:
        """The lowest stage because of which the flow is not indexable."""
        for child in self.children():
            if not child.indexable:
                return child._blocker()
        return self

    def _random_stages(self) -> list[RNGDataFlow]:
        """All random stages, those nearer to the source first, each once."""
        found: list[RNGDataFlow] = []
        for child in self.children():
            found += [stage for stage in child._random_stages() if stage not in found]
        return found

    def _random_depth(self) -> int:
        return max((child._random_depth() for child in self.children()), default=0)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(unknown_attribute(self, name, _OLD_METHODS))

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state.pop("_latest", None)
        state.pop("_reset_in", None)
        return state


_OLD_METHODS = {
    "size": "write len(ds), or ds.size_or_none() where it may be unknown.",
    "get_data": "iterate over the flow itself; in a class of your own define __iter__, or get(index, epoch).",
}


def _counted(user_iter: Callable[[Any], Any]) -> Callable[[Any], Iterator[Datapoint]]:
    """A class's own ``__iter__``, made to count what it hands out, so that its position is known."""

    @functools.wraps(user_iter)
    def __iter__(self: DataFlow) -> Iterator[Datapoint]:
        if type(self)._user_iter is not user_iter:  # a subclass's __iter__ calls this one through super()
            return user_iter(self)
        return self._start()

    return __iter__


class RNGDataFlow(DataFlow):
    """A flow that draws random numbers.

    A stage that defines ``get`` draws from ``self.stream.at(epoch, index)``; one that defines ``__iter__`` draws from
    ``self.rng``, a generator that is set anew for each epoch.

    Args:
        seed: A whole number; None takes the default (``set_seed``); ``"random"`` draws one and logs it.
    """

    rng: np.random.Generator
    _seed: int | None = None
    _stream: RandomStream | None = None

    def __init__(self, seed: int | Literal["random"] | None = None) -> None:
        self._seed = resolve_seed(seed)

    @property
    def seed(self) -> int:
        """The number that, with the stage's place in the chain, determines all it draws."""
        if self._seed is None:  # a subclass that did not call __init__
            self._seed = resolve_seed(None)
        return self._seed

    @property
    def stream(self) -> RandomStream:
        """The random numbers of this stage; its number is how many random stages lie beneath."""
        if self._stream is None:
            self._stream = RandomStream(self.seed, self._random_depth() - 1)
        return self._stream

    def _set_seed(self, seed: int) -> None:
        self._seed, self._stream = resolve_seed(seed), None

    def _begin(self, epoch: int) -> None:
        super()._begin(epoch)
        self.rng = self.stream.fresh(epoch)

    def _random_stages(self) -> list[RNGDataFlow]:
        return [*super()._random_stages(), self]

    def _random_depth(self) -> int:
        return super()._random_depth() + 1


class ProxyDataFlow(DataFlow):
    """A stage over another flow; by itself it passes everything on.

    Args:
        ds: The flow beneath.

    Raises:
        DataFlowError: ``ds`` is not a DataFlow.
    """

    def __init__(self, ds: DataFlow) -> None:
        if not isinstance(ds, DataFlow):
            raise DataFlowError(
                f"{type(self).__name__} takes a DataFlow as its first argument, got {type(ds).__name__}. "
                "Wrap a list with DataFromList, a generator function with DataFromGenerator."
            )
        self.ds = ds

    def children(self) -> tuple[DataFlow, ...]:
        return (self.ds,)

    def __len__(self) -> int:
        return len(self.ds)

    def get(self, index: int, epoch: int = 0) -> Datapoint:
        return self.ds.get(index, epoch)

    def _cursor(self, epoch: int, state: Any = None) -> Cursor:
        if not self.ds.indexable and type(self).get is ProxyDataFlow.get:
            return self.ds._open(epoch, state)
        return super()._cursor(epoch, state)
