"""The file in which a job reaches its workers: its cloudpickle, and the parent's import path, folder and environment.

Large arrays of the job (a data set in memory) are written once and mapped copy-on-write by every worker: ten workers
share one copy.
"""

from __future__ import annotations

import json
import mmap
import os
import pickle
import struct
import sys
import types
from typing import Any

import cloudpickle

from ..utils.errors import FlowtrainError, error_text
from ..utils.files import working_folder
from .arena import aligned
from .mapping import anonymous_file
from .parcel import culprit, out_of_band

__all__ = ["THREADS", "Payload", "import_path", "load"]

THREADS = {
    name: "1"
    for name in (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    )
}
"""Environment variables that give a worker's libraries one thread each: the workers are the parallelism."""

_HEAD = struct.Struct("<qqq")  # number of buffers, length of the surroundings, length of the pickle
_ENTRY = struct.Struct("<qq")
_SHARED_MIN = 1 << 16  # bytes; smaller arrays stay in the pickle
_PAGE = mmap.PAGESIZE


class Payload:
    """A job, pickled.

    Args:
        job: Any object with ``run`` (see :mod:`flowtrain.ipc.worker`). Lambdas, functions and classes of the main
            script go along by value.

    Raises:
        FlowtrainError: It cannot be pickled.

    Attributes:
        data: The pickle, without the large arrays.
        views: The large arrays' memory, until it is written.
    """

    def __init__(self, job: object) -> None:
        self.views: list[memoryview] = []
        try:
            self.data = cloudpickle.dumps(job, 5, out_of_band(self.views, _SHARED_MIN))  # type: ignore[call-arg]
        except Exception as error:
            raise FlowtrainError(
                f"the flow cannot be sent to worker processes: {error_text(error)} "
                f"({culprit(job, 'the flow')}). "
                "Open files, connections and locks in reset_state(), which runs in each worker, "
                "or keep the flow in this process with num_proc=0."
            ) from error

    def write(self) -> int:
        """Write it to a file without a name, with this process's import path, folder and environment. Only once.

        Returns:
            The file's descriptor.
        """
        folder = working_folder()
        around = json.dumps(
            {
                "path": import_path(folder),
                "folder": folder,
                "environment": dict(os.environ) | THREADS,
            }
        ).encode("utf-8", "surrogateescape")
        head = _HEAD.size + _ENTRY.size * len(self.views)
        at, table = head + len(around) + len(self.data), []
        for view in self.views:
            at = aligned(at, _PAGE)  # its pages hold nothing else: a write to one array copies none of another's
            table.append((at, view.nbytes))
            at += view.nbytes
        fd = anonymous_file("flowtrain-job")
        try:
            entries = b"".join([_ENTRY.pack(*entry) for entry in table])
            _write(fd, 0, _HEAD.pack(len(table), len(around), len(self.data)) + entries + around)
            _write(fd, head + len(around), self.data)
            for (place, _), view in zip(table, self.views, strict=True):
                _write(fd, place, view)
        except BaseException:
            os.close(fd)
            raise
        self.views.clear()  # they keep the job's arrays alive
        return fd


def import_path(folder: str | None) -> list[str]:
    """Return this process's import path with relative entries made absolute, or left out if ``folder`` is None.

    An interpreter that finds a relative entry and no working directory does not start.
    """
    return [os.path.normpath(os.path.join(folder or "", entry)) for entry in sys.path if folder or os.path.isabs(entry)]


def _write(fd: int, place: int, data: bytes | memoryview) -> None:
    rest = memoryview(data).cast("B")
    while rest.nbytes:  # a write of 2 GB or more is cut short by Linux and an error elsewhere
        done = os.pwrite(fd, rest[: 1 << 30], place)
        rest, place = rest[done:], place + done


def load(fd: int) -> Any:
    """In a worker: take over the parent's import path, folder and environment, and unpickle the job.

    Args:
        fd: The descriptor that ``Payload.write`` returned. It is closed.

    Returns:
        The job; its large arrays are views of the mapped file.
    """
    # Copy-on-write: all workers share the pages of a data set in memory, and none changes another's by writing to it.
    memory = mmap.mmap(fd, 0, access=mmap.ACCESS_COPY)
    os.close(fd)
    view = memoryview(memory)
    count, around, length = _HEAD.unpack_from(view)
    head = _HEAD.size + _ENTRY.size * count
    table = list(_ENTRY.iter_unpack(view[_HEAD.size : head]))
    surroundings = json.loads(bytes(view[head : head + around]).decode("utf-8", "surrogateescape"))
    sys.path[:] = surroundings["path"]
    os.environ.clear()
    os.environ.update(surroundings["environment"])
    if surroundings["folder"] is not None:  # else it was deleted
        os.chdir(surroundings["folder"])
    # What the user's script defines comes by value. A name of __main__ must not be found in the zygote's own instead.
    sys.modules["__main__"] = types.ModuleType("__main__")
    start = head + around
    return pickle.loads(view[start : start + length], buffers=[view[at : at + size] for at, size in table])
