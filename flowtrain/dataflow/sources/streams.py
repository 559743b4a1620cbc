"""Sources that can only be walked from their start: generators, iterables, queues."""

from __future__ import annotations

import itertools
import queue as queues
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ...utils.arguments import old_spellings
from ...utils.errors import DataFlowError, StateError
from ..core.base import DataFlow
from ..core.components import protected
from ..core.cursor import Cursor, Datapoint
from ..stages.map import function_name

__all__ = ["DataFromGenerator", "DataFromIterable", "DataFromQueue"]


class _Restarted(DataFlow):
    """The base of sources that start an iterator for each epoch."""

    _length: int | None = None

    def __len__(self) -> int:
        if self._length is None:
            raise TypeError(f"the length of {self} is not known; pass size= where it is")
        return self._length

    def _start_source(self) -> Iterator[Any]:
        raise NotImplementedError

    def _cursor(self, epoch: int, state: Any = None) -> Cursor:
        return _CountingCursor(self, epoch, state)


class _CountingCursor(Cursor):
    """The walk over an iterator; its position is a count, and going back there replays."""

    def __init__(self, source: _Restarted, epoch: int, state: int | None = None) -> None:
        super().__init__(epoch)
        self._flow, self._count = source, state or 0
        self._source: Iterator[Any] | None = None

    def __next__(self) -> Datapoint:
        if self._source is None:
            self._source = self._started()
        flow = self._flow
        try:
            datapoint = next(self._source)
        except StopIteration:
            if flow._length is not None and self._count < flow._length:
                raise self._other_size(f"only {self._count}") from None
            raise
        except Exception as error:
            flow._fail(error, self._count, self.epoch)
        if self._count == flow._length:
            raise self._other_size("more")
        self._count += 1
        return datapoint

    def _other_size(self, given: str) -> DataFlowError:
        return DataFlowError(
            f"{self._flow} was said to give {self._flow._length} datapoints (size=), but gave {given} in epoch "
            f"{self.epoch}. Leave size= out, or put FixedSizeData around it, which makes epochs of any size"
        )

    def _started(self) -> Iterator[Any]:
        source = self._flow._start_source()
        skipped = sum(1 for _ in itertools.islice(source, self._count))
        if skipped < self._count:
            raise StateError(f"{self._flow} ended after {skipped} datapoints; its saved position is {self._count}")
        return source

    def state(self) -> int:
        return self._count

    def close(self) -> None:
        closing = getattr(self._source, "close", None)
        if closing is not None:
            closing()


@old_spellings(gen="make")
class DataFromGenerator(_Restarted):
    """Hand out what a generator function yields.

    Args:
        make: A function without arguments that returns a new iterator of datapoints; it is called for each epoch.
        size: How many datapoints that is, if known; gives the flow a length. Another number is an error.

    What the generator yields is handed on as it is: of lists and arrays that it keeps for the next epoch, yield copies.

    Order: the generator's. Not indexable: where datapoint i can be made alone, a ``DataFlow`` with ``get`` is
    better, as it runs exactly in any number of workers.

    State: a count; going on there runs the generator up to it.

    Raises:
        DataFlowError: A generator was given instead of the function that makes it.

    Example:
        >>> def squares():
        ...     for n in range(3):
        ...         yield [n**2]
        >>> list(DataFromGenerator(squares))
        [[0], [1], [4]]
    """

    def __init__(self, make: Callable[[], Iterable[Any]], size: int | None = None) -> None:
        if not callable(make):
            hint = (
                "It can be walked only once, and a flow is walked once an epoch: pass the function itself, "
                "without calling it, or lambda: ..."
                if isinstance(make, Iterator)
                else "For a list use DataFromList, for another iterable DataFromIterable."
            )
            raise DataFlowError(f"DataFromGenerator takes a generator function, got {type(make).__name__}. {hint}")
        self.make, self._length = make, size

    def _start_source(self) -> Iterator[Any]:
        try:
            return iter(self.make())
        except TypeError as error:
            raise DataFlowError(
                f"{self}: the function must take no argument and return an iterator of datapoints: {error}"
            ) from error

    def describe(self) -> str:
        return f"DataFromGenerator({function_name(self.make)})"


class DataFromIterable(_Restarted):
    """Hand out the items of something that can be iterated again and again: a set, a deque, a reader object.

    Args:
        iterable: Anything with ``__iter__`` that starts anew each time.
        size: How many datapoints that is; None asks ``len()`` where there is one.

    As the items stay with the iterable, they are handed out as copies, and arrays as read-only views.

    Order: the iterable's. Not indexable (``DataFromList`` is).

    State: a count; going on there walks up to it.

    Raises:
        DataFlowError: It is an iterator, which can be walked only once.

    Example:
        >>> list(DataFromIterable({"a": 1, "b": 2}.items()))
        [('a', 1), ('b', 2)]
    """

    def __init__(self, iterable: Iterable[Any], size: int | None = None) -> None:
        if isinstance(iterable, Iterator):
            raise DataFlowError(
                f"DataFromIterable: a {type(iterable).__name__} can be walked only once, and a flow is walked once an "
                "epoch. Wrap what makes it: DataFromGenerator(lambda: ...)"
            )
        if not isinstance(iterable, Iterable):
            raise DataFlowError(f"DataFromIterable takes something to iterate over, got {type(iterable).__name__}")
        self.iterable, self._given = iterable, size

    def __len__(self) -> int:
        if self._given is not None:
            return self._given
        try:
            return len(self.iterable)  # type: ignore[arg-type]
        except TypeError:
            raise TypeError(f"the length of {self} is not known; pass size= where it is") from None

    def _start_source(self) -> Iterator[Any]:
        return map(protected, self.iterable)

    def describe(self) -> str:
        return f"DataFromIterable({type(self.iterable).__name__})"


class DataFromQueue(DataFlow):
    """Hand out what another thread puts into a queue.

    Args:
        queue: A ``queue.Queue`` or anything with ``get(timeout=...)``. Putting ``end`` ends an epoch.
        end: The object that ends an epoch; by default None.
        timeout: How many seconds to wait for a datapoint before that is an error.

    Order: that of the queue. Not indexable, and not for worker processes: a queue lives in one process.

    State: a count, for information: what was taken from a queue cannot be taken again.

    Raises:
        DataFlowError: Nothing came within ``timeout``.

    Example:
        >>> import queue
        >>> q = queue.Queue()
        >>> for item in ([1], [2], None):
        ...     q.put(item)
        >>> list(DataFromQueue(q))
        [[1], [2]]
    """

    def __init__(self, queue: Any, end: Any = None, timeout: float = 600.0) -> None:
        if not hasattr(queue, "get"):
            raise DataFlowError(f"DataFromQueue takes a queue with get(timeout=...), got {type(queue).__name__}")
        self.queue, self.end, self.timeout = queue, end, timeout

    def _cursor(self, epoch: int, state: Any = None) -> Cursor:
        return _QueueCursor(self, epoch, state)

    def __copy__(self) -> DataFromQueue:
        return type(self)(self.queue, self.end, self.timeout)

    def __getstate__(self) -> dict[str, Any]:
        raise DataFlowError(
            "DataFromQueue cannot go to another process: a queue lives in one. Use it above the parallel stage, or "
            "send the data with send_dataflow and RemoteData"
        )


class _QueueCursor(Cursor):
    def __init__(self, flow: DataFromQueue, epoch: int, state: int | None = None) -> None:
        super().__init__(epoch)
        self._flow, self._count = flow, state or 0

    def __next__(self) -> Datapoint:
        flow = self._flow
        try:
            datapoint = flow.queue.get(timeout=flow.timeout)
        except queues.Empty:
            raise DataFlowError(
                f"DataFromQueue: nothing was put into the queue for {flow.timeout:g} s, after {self._count} datapoints "
                f"of epoch {self.epoch}. Does the thread that fills it still live? Put {flow.end!r} to end an epoch"
            ) from None
        if datapoint is flow.end:
            raise StopIteration
        self._count += 1
        return datapoint

    def state(self) -> int:
        return self._count
