"""DataFlow: an iterable of datapoints that knows its position and, where it is indexable, makes any datapoint alone.

A datapoint is a list or a dict of components: NumPy arrays, numbers, strings, bytes.

There are two kinds of flow. An *indexable* one makes datapoint i of epoch e alone, ``get(i, e)``: all its randomness
comes from (seed, epoch, index), so any process can make any datapoint. That is a property of how the flow is built; it
is the same in every thread and process, with and without workers. A flow that is not indexable can only be walked from
its start. Serial iteration of an indexable flow is ``get`` of 0, 1, 2, ...: that is the specification which everything
parallel has to meet. How a flow is walked is decided in ``_open``, when an iteration begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np

from ...utils.arguments import names_arguments
from ...utils.errors import DataFlowError, annotate_error
from . import explanation, process
from .ahead import AheadCursor, Piece, RunQueue, has_workers
from .cursor import Cursor, Datapoint, IndexCursor, IteratorCursor, StageCursor, checked_index, promised_size
from .datapoint import Position
from .guards import GUARDS, OLD_METHODS, Absent, at_home, counted, recorded
from .iteration import Iteration, RetracedCursor
from .position import go_on_at, position_of

if TYPE_CHECKING:
    from .random_flow import RNGDataFlow

__all__ = ["Cursor", "DataFlow", "Datapoint", "IndexCursor"]

_OURS = __name__.partition(".")[0]


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

    _user_iter: ClassVar[Callable[..., Any] | None] = None
    _knows_needs: ClassVar[bool] = False  # whether _needs tells what this class's get takes from the flows beneath
    _size_is_exact: ClassVar[bool] = False  # of iterated flows: whether more datapoints than the length are an error
    _replays: ClassVar[bool] = True  # of iterated flows: whether starting anew gives the same datapoints again
    _caches: ClassVar[tuple[str, ...]] = ()  # attributes that are None in a pickled copy, and after a new seed
    _reuses: int = 0  # how many datapoints of the flows beneath are held, since later datapoints need them again
    _epoch: int = 0  # of the next iteration
    _resume: Any = None  # the position in it at which to start
    _latest: Cursor | None = None
    _reset_in: object = None  # the process in which reset_state was called
    _opened: dict[str, tuple[Any, Any]] | None = None  # attributes that reset_state set: (before, after)
    _crews: Any = None  # the workers that a parallel stage keeps from one walk to the next
    _advice: str = "make it cheaper"  # what explain says where this stage is the limit

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        names_arguments(cls)
        own = cls.__dict__
        if "__iter__" in own:
            cls._user_iter = own["__iter__"]
            cls.__iter__ = counted(own["__iter__"])  # type: ignore[method-assign]
        elif "get" in own or "_cursor" in own or "_walk" in own:  # it makes datapoints otherwise than its parent did
            cls._user_iter = None
        # Asked of the class body and not of the class: a subclass that overrides get alone inherits a _needs which is
        # true of its parent's get, and would be fed datapoints that its own never asked for.
        if "get" in own or "_needs" in own:
            cls._knows_needs = "_needs" in own  # one that was inherited says nothing of another get
        if "reset_state" in own:
            cls.reset_state = recorded(own["reset_state"])  # type: ignore[method-assign]
        if cls.__module__.partition(".")[0] != _OURS:  # ours name the datapoint where they call a user's function
            for name, guarded in GUARDS.items():
                if name in own:
                    setattr(cls, name, guarded(own[name]))

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

    def get_batch(self, indices: np.ndarray, epoch: int = 0) -> Datapoint:
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
        """Open files, connections and the like, which processes must not share.

        Called before the first datapoint in each process. What it sets is left out when the flow is pickled.
        """

    def children(self) -> tuple[DataFlow, ...]:
        """The flows that this one takes its datapoints from."""
        return ()

    def rows_per_datapoint(self) -> int | None:
        """How many rows of its source one datapoint takes: converts positions between batch sizes.

        Returns:
            1 for a source and for what is made of it one by one, the batch size over a ``BatchData``, and so on; None
            where it differs from datapoint to datapoint, or the datapoints are not in the rows' order.
        """
        return None if self.children() else 1

    def _walk(self, walk: StageCursor, memory: object) -> Iterator[Datapoint]:
        """Generator of one epoch's datapoints, of a stage that is not indexable; see ``StageCursor``.

        Args:
            walk: Opens the flows beneath, and is told the position.
            memory: The value of ``walk.memory`` at the position from which to go on; None at the start.
        """
        raise NotImplementedError

    def _needs(self, first: int, stop: int, epoch: int) -> Iterable[Piece]:
        """Which datapoints of the flows beneath ``get`` takes to make the datapoints ``first`` to ``stop - 1``.

        Pieces should be as large as possible: a piece costs the same to plan however many datapoints it covers.
        """
        raise NotImplementedError

    def _assemble(self, parts: list[Datapoint], index: int, epoch: int) -> Datapoint:
        """Make the datapoint that ``get`` would make, out of those that ``_needs`` asked for, in their order."""
        raise NotImplementedError

    def _begin(self, epoch: int) -> None:
        """Called before each iteration of a user's own ``__iter__``."""

    # ---------------------------------------------------------------- what every flow has

    @property
    def indexable(self) -> bool:
        """Whether ``get`` makes any datapoint alone: a property of how the flow is built, the same everywhere."""
        return self._indexable_itself() and all(child.indexable for child in self.children())

    def _indexable_itself(self) -> bool:
        """Whether the stage is indexable if all flows beneath it are."""
        return self._user_iter is None and type(self).get is not DataFlow.get

    def size_or_none(self) -> int | None:
        """The number of datapoints of one epoch; None where it is unknown or the flow never ends."""
        try:
            return len(self)
        except TypeError:
            return None

    def __iter__(self) -> Iterator[Datapoint]:
        """Start the next epoch, or go on where a loaded state says."""
        # A user's __iter__ has called its parent's through super(). The cursor over that __iter__ keeps the position,
        # so this is the parent's own cursor and nothing more.
        if self._user_iter is not None and self._latest is not None:
            return iter(self._cursor(self._latest.epoch))
        return self._start()

    def _start(self) -> Iteration:
        self._ensure_reset()
        position, skip = RetracedCursor.parsed(self._resume)
        cursor = self._open(self._epoch, position)
        if skip or not cursor.knows_after_error:
            cursor = RetracedCursor(cursor, position, skip)
        # Counted when a walk begins, not when it ends: a consumer that leaves early (take, an error) must not be given
        # the same epoch again, and two iterators of one flow at once are two epochs.
        self._epoch, self._resume = cursor.epoch + 1, None
        self._latest = cursor
        return Iteration(cursor)

    def state_dict(self) -> dict[str, Any]:
        """The position of the latest iteration, in a form that JSON or msgpack can hold.

        After an error in one of your functions it is the position of the datapoint that failed: mend the function, and
        the flow goes on there.

        Returns:
            ``version``, ``epoch``, ``position`` (after the last datapoint handed out; None at an epoch's start),
            ``seeds`` of the random stages, and ``rows``: the position in rows of the source, with
            ``rows_per_datapoint``; both None where that cannot be told.
        """
        return position_of(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Make the next iteration go on at a saved position; the one after it is the following epoch.

        Where the position can be told in rows of the source, the flow may have another batch size than the one whose
        position was saved.

        Args:
            state: What ``state_dict`` of a flow that is built alike gave, in this process or another.

        Raises:
            StateError: It is not such a dict, the flow has other random stages, or no datapoint of the flow begins at
                the saved row.
        """
        go_on_at(self, state)

    def explain(
        self,
        n: int = 50,
        consumer: Callable[[Any], Any] | None = None,
        max_seconds: float = 30.0,
        quiet: bool = False,
    ) -> explanation.Explanation:
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
        return explanation.measure(self, n, consumer, max_seconds, quiet)

    def describe(self) -> str:
        """The stage's name with what tells it apart, as errors and tables show it."""
        return type(self).__name__

    def __repr__(self) -> str:
        return self.describe()

    # ---------------------------------------------------------------- for stages

    def _open(self, epoch: int, state: Position = None) -> Cursor:
        """Make the cursor over one epoch from a position: here it is decided how a flow is walked, and nowhere else."""
        if self._user_iter is not None:
            return IteratorCursor(self, epoch, state)
        if not self.indexable or not has_workers(self):
            return self._cursor(epoch, state)
        if not self._makes_in_workers():  # a stage beneath has the workers
            return AheadCursor(self, epoch, state)
        index = checked_index(self, state)
        return self._cursor_over(RunQueue.span(index, self.size_or_none(), epoch), self, epoch, index)

    def _cursor(self, epoch: int, state: Position = None) -> Cursor:
        """Make the cursor of a flow whose datapoints no workers make by index."""
        kind = type(self)
        if kind._walk is not DataFlow._walk and not self.indexable:
            return StageCursor(self, epoch, state)
        if kind.get is not DataFlow.get:
            return IndexCursor(self, epoch, state)
        raise DataFlowError(f"{kind.__name__} defines neither __iter__ nor get(index, epoch): define one of them")

    @property
    def _passes(self) -> bool:
        """Whether the stage's datapoints are those of the flow beneath, unchanged."""
        return False

    def _makes_in_workers(self) -> bool:
        """Whether workers would make this stage's datapoints by index if it were walked here and now.

        Parallel stages say no inside of a worker, where they make everything themselves.
        """
        return False

    def _cursor_over(self, runs: RunQueue, flow: DataFlow, epoch: int, first: int = 0) -> Cursor:
        """Make the cursor over some datapoints of an indexable flow, which this stage's workers make.

        Args:
            runs: Their indices, in order.
            flow: The flow: the stage itself, or one above it.
            epoch: The cursor's epoch, for messages.
            first: The cursor's position before the first of them.
        """
        raise NotImplementedError

    @property
    def worker_count(self) -> int:
        """How many workers the stage itself has; 0 for all but parallel stages."""
        return 0

    def _end_workers(self) -> None:
        """End the idle workers that are kept for the next epoch."""

    def _start_iterator(self, epoch: int) -> Iterator[Datapoint]:
        """The iterator over one epoch of a flow that can only be iterated."""
        for child in self.children():  # so that the flows it walks are in the same epoch, in any process
            child._epoch, child._resume = epoch, None
        self._begin(epoch)
        return iter(self._user_iter())  # type: ignore[misc]

    _promised_size = promised_size

    def _ended_early(self, size: int, given: int, epoch: int) -> DataFlowError:
        return DataFlowError(
            f"{self} ended early: its length is {size}, it gave {given} datapoints in epoch {epoch}. Either the length "
            "is wrong, or an exception in its iterator was taken for its end: StopIteration, as next() without a "
            "default raises"
        )

    def _fail(self, error: BaseException, index: int, epoch: int) -> NoReturn:
        """Raise a user's error again, with the stage, the epoch and the index in its message."""
        try:
            self._fail_in(error, f"epoch {epoch}, datapoint {index}")
        finally:
            del error  # see _fail_in

    def _fail_in(self, error: BaseException, where: str) -> NoReturn:
        where = f"{self.describe()}, {where}"
        if isinstance(error, StopIteration):  # it would end the epoch without a word
            raise annotate_error(DataFlowError("a function raised StopIteration"), where) from error
        noted = annotate_error(error, where)
        try:
            if noted is error:
                raise noted
            raise noted from error
        finally:
            del error, noted  # the traceback holds this frame, and would hold itself and all that its frames hold

    def _ensure_reset(self) -> None:
        """Call ``reset_state`` of all flows beneath and of this one, once in each process."""
        for child in self.children():
            child._ensure_reset()
        self._reset_once()

    def _reset_once(self) -> None:
        if self._reset_in is not process.current:
            self._reset_in = process.current
            try:
                self.reset_state()
            except BaseException:
                self._reset_in = None  # it is called again: half-opened is not open
                raise

    def _blocker(self) -> DataFlow:
        """The lowest stage because of which the flow is not indexable."""
        for child in self.children():
            if not child.indexable:
                return child._blocker()
        return self

    def _random_stages(self) -> list[RNGDataFlow]:
        """All random stages, those nearer to the source first, each once.

        A state holds their seeds in this order.
        """
        found: list[RNGDataFlow] = []
        for child in self.children():
            found += [stage for stage in child._random_stages() if stage not in found]
        return found

    def _random_depth(self) -> int:
        """How many random stages there are on the way down to a source, at most."""
        return max((child._random_depth() for child in self.children()), default=0)

    def __getstate__(self) -> dict[str, Any]:
        return at_home(self)


for _name, _instead in OLD_METHODS.items():
    setattr(DataFlow, _name, Absent(_instead, _name))  # not in the class body: unknown names to editors and checkers
