"""Sources that can only be iterated from their start: generators, iterables, queues."""

from __future__ import annotations

import queue as queues
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ...utils.arguments import old_spellings
from ...utils.errors import USER_ERRORS, DataFlowError
from ..core.base import DataFlow
from ..core.components import protected
from ..core.cursor import Cursor, IteratorCursor
from ..core.datapoint import Datapoint, Position
from ..stages.map import function_name

__all__ = ["DataFromGenerator", "DataFromIterable", "DataFromQueue"]


class _IteratorSource(DataFlow):
    """Base of sources that start a new iterator for each epoch; a wrong ``size=`` is an error."""

    _size_is_exact = True
    _length: int | None = None

    def __len__(self) -> int:
        if self._length is None:
            raise TypeError(f"the length of {self} is not known; pass size= where it is")
        return self._length

    def _cursor(self, epoch: int, state: Position = None) -> Cursor:
        return IteratorCursor(self, epoch, state)

    def _promised_size(self) -> int | None:
        return self.size_or_none()

    def _ended_early(self, size: int, given: int, epoch: int) -> DataFlowError:
        return self._other_size(size, f"only {given}", epoch)

    def _gave_more(self, size: int, epoch: int) -> DataFlowError:
        return self._other_size(size, "more", epoch)

    def _other_size(self, size: int, given: str, epoch: int) -> DataFlowError:
        return DataFlowError(
            f"{self} was said to give {size} datapoints (size=), but gave {given} in epoch "
            f"{epoch}. Leave size= out, or put FixedSizeData around it, which makes epochs of any size"
        )


@old_spellings(gen="make")
class DataFromGenerator(_IteratorSource):
    """Yield what a generator function yields.

    Args:
        make: A function without arguments that returns a new iterator of datapoints; it is called once per epoch.
        size: Number of datapoints per epoch, if known; it becomes the flow's length. An epoch of another size is an
            error.

    Datapoints are passed on without a copy: yield copies of lists and arrays that the generator keeps.

    Order: the generator's. Not indexable: if datapoint i can be made alone, write a ``DataFlow`` with ``get``, which
    gives the same data with any number of workers.

    State: a count. To resume, the generator is run up to it.

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

    def _start_iterator(self, epoch: int) -> Iterator[Any]:
        try:
            return iter(self.make())
        except TypeError as error:  # of the call itself: a generator function runs nothing before the first next()
            raise DataFlowError(
                f"{self}: the function must take no argument and return an iterator of datapoints: {error}"
            ) from error

    def describe(self) -> str:
        return f"DataFromGenerator({function_name(self.make)})"


class DataFromIterable(_IteratorSource):
    """Yield the items of an object that can be iterated repeatedly: a set, a deque, a reader object.

    Args:
        iterable: Anything whose ``__iter__`` starts anew each time.
        size: Number of datapoints per epoch; None asks ``len()`` if there is one.

    The iterable keeps its items, so copies of them are yielded, and read-only views of arrays.

    Order: the iterable's. Not indexable (``DataFromList`` is).

    State: a count. To resume, the iterable is iterated up to it.

    Raises:
        DataFlowError: ``iterable`` is an iterator, which can be iterated only once.

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
        except USER_ERRORS as error:
            self._fail_in(error, "__len__")

    def _start_iterator(self, epoch: int) -> Iterator[Any]:
        return map(protected, self.iterable)

    def describe(self) -> str:
        return f"DataFromIterable({type(self.iterable).__name__})"


class DataFromQueue(DataFlow):
    """Yield what another thread puts into a queue.

    Args:
        queue: A ``queue.Queue`` or anything with ``get(timeout=...)``.
        end: The object that ends an epoch when it is taken from the queue.
        timeout: Seconds to wait for a datapoint before an error is raised.

    Order: that of the queue. Not indexable, and not for worker processes: a queue lives in one process.

    State: a count, for information only: what was taken from a queue cannot be taken again.

    Raises:
        DataFlowError: The queue was empty for ``timeout`` seconds.

    Example:
        >>> import queue
        >>> q = queue.Queue()
        >>> for item in ([1], [2], None):
        ...     q.put(item)
        >>> list(DataFromQueue(q))
        [[1], [2]]
    """

    def __init__(self, queue: Any, end: object = None, timeout: float = 600.0) -> None:
        if not hasattr(queue, "get"):
            raise DataFlowError(f"DataFromQueue takes a queue with get(timeout=...), got {type(queue).__name__}")
        self.queue, self.end, self.timeout = queue, end, timeout

    def _cursor(self, epoch: int, state: Position = None) -> Cursor:
        return IteratorCursor(self, epoch, state)

    _replays = False  # what a queue gave before cannot be made again, and taking more items would lose them

    def _promised_size(self) -> int | None:
        return None

    def _start_iterator(self, epoch: int) -> Iterator[Any]:
        while (datapoint := self._waited_for()) is not self.end:
            yield datapoint

    def _waited_for(self) -> Datapoint:
        try:
            return self.queue.get(timeout=self.timeout)
        except queues.Empty:
            raise DataFlowError(
                f"DataFromQueue: nothing was put into the queue for {self.timeout:g} s. Does the thread that fills it "
                f"still live? Put {self.end!r} to end an epoch"
            ) from None

    def __copy__(self) -> DataFromQueue:  # copy.copy would call __getstate__, which refuses
        return type(self)(self.queue, self.end, self.timeout)

    def __getstate__(self) -> dict[str, Any]:
        raise DataFlowError(
            "DataFromQueue cannot go to another process: a queue lives in one. Use it above the parallel stage, or "
            "send the data with send_dataflow and RemoteData"
        )
