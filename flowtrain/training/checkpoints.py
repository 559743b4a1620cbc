"""The checkpoints of one run: saving in a thread beside training, rotation, and the search for the newest whole one."""

from __future__ import annotations

import errno
import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from flowtrain.model.checkpoint_io import (
    CheckpointWriter,
    check_checkpoint,
    clear_unfinished,
    is_step,
    list_checkpoints,
    read_state,
)
from flowtrain.utils.errors import CheckpointError, FlowtrainError
from flowtrain.utils.schema import Anything, Flag, ListOf, MapOf, Nullable, Number, Record, Row, Text, Whole, mismatch

__all__ = ["Checkpoints", "read_run_state"]

logger = logging.getLogger("flowtrain.training")

_PATIENCE = 600.0  # seconds to wait for a disk
_TELL = 10.0  # seconds between two lines in the log that a checkpoint was saved

_NAME = Text(10_000)
# The form of state.msgpack. It is checked as a whole before anything is restored, so that a file that is damaged or
# made by another program is one error that names the place, and no run is left half restored.
_RUN_STATE = Record(
    {
        "progress": Record({"epoch": Whole(), "epoch_done": Flag(), "local_step": Whole(0), "global_step": Whole(0)}),
        "data": Anything(),
        "callbacks": MapOf(_NAME, Anything()),
        "monitors": Record(
            {
                "history": MapOf(_NAME, ListOf(Row(Whole(), Anything()))),
                "monitors": ListOf(Row(_NAME, Anything())),
            },
            optional={"missed": ListOf(ListOf(ListOf(Anything())))},
        ),
        "random": Record(
            {
                # what random.getstate() and np.random.get_state(legacy=False) give
                "python": Row(Whole(), ListOf(Whole(0, 2**32 - 1)), Nullable(Number())),
                "numpy": Record({"bit_generator": Text(), "state": Record({}, others=Anything())}, others=Anything()),
            }
        ),
    },
    optional={
        "description": Record(
            {
                "data": ListOf(Record({"stage": _NAME}, others=Anything())),
                "rows": Nullable(Whole(0)),
                "batches": Nullable(Whole(0)),
                "scalars": MapOf(_NAME, Anything()),
                "training": Record({"steps_per_epoch": Whole(1)}, others=Anything()),
                "callbacks": MapOf(_NAME, Anything()),
                **{name: Anything() for name in ("model", "optimizer")},
            },
            others=Anything(),
        ),
    },
    others=Anything(),
)


# What the system says of a path that will be refused the next time too. A full disk, a quota, a broken connection pass.
_LASTING = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL, errno.EISDIR}


class _Save(NamedTuple):
    name: str
    variables: Mapping[str, Any]
    state: Mapping[str, Any]
    about: Mapping[str, Any]
    keep: int | None


class Checkpoints:
    """Saves and finds checkpoints in a folder.

    A save that fails leaves the older checkpoints as they were. If the reason may pass (a full disk), training goes on:
    the save is tried again after the next one, and at the end; `finish` raises if it still fails. If the reason will
    not pass (a state that cannot be packed, a folder that may not be written), the next call here raises.

    Args:
        folder: ``<log_dir>/checkpoints``.

    Attributes:
        failures: How many attempts to save have failed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.failures = 0
        # One thread at a time. While it runs it alone touches _unsaved, _saved and _told: others `wait` for it first.
        self._thread: threading.Thread | None = None
        self._unsaved: dict[str, tuple[_Save, Exception]] = {}  # failed, to be tried again
        self._fatal: CheckpointError | None = None
        self._saved: str | None = None  # the last checkpoint that was saved and not logged
        self._told = -float("inf")  # when a save was logged last

    def clear(self) -> None:
        """Remove the temporary folders that a killed process left."""
        clear_unfinished(self.folder)

    def save(
        self,
        name: str,
        variables: Mapping[str, Any],
        state: Mapping[str, Any],
        about: Mapping[str, Any],
        keep: int | None,
        background: bool,
    ) -> None:
        """Save a checkpoint, once the save before it has ended.

        The call returns when the variables are in the file; a thread then syncs and renames it. With `background` the
        thread writes the file too, and the call returns at once.

        Args:
            name: Name of the checkpoint's folder.
            variables: Readable name -> tensor that does not change any more.
            state: All that is no variable; see `RunState.save`.
            about: JSON values for the manifest.
            keep: How many ``step-...`` checkpoints to keep; None: all.
            background: Whether the thread writes the file too.

        Raises:
            CheckpointError: An earlier save failed for a reason that will not pass, or still hangs.
        """
        # One at a time: a second snapshot would double the memory, and on a slow disk saves would pile up without a
        # bound.
        self.wait()
        save = _Save(name, variables, state, about, keep)
        writer = None if background else self._written(save)
        if not background and writer is None:
            self.check()
            return
        # Not a daemon: an interpreter that exits waits for it, so a save under way is not lost.
        self._thread = threading.Thread(target=self._complete, args=(save, writer), name="flowtrain-saver")
        self._thread.start()

    def wait(self) -> None:
        """Wait for the save under way.

        Raises:
            CheckpointError: It has not ended after 10 minutes, or it failed for a reason that will not pass.
        """
        if self._thread is not None:
            self._thread.join(_PATIENCE)
            if self._thread.is_alive():
                raise CheckpointError(
                    f"saving into {self.folder} has taken more than {_PATIENCE:.0f} s: does the disk hang?"
                )
            self._thread = None
        self.check()

    def check(self) -> None:
        """Raise the error of a save that failed for a reason that will not pass, once; without waiting for one."""
        if self._fatal is not None:  # looked at first: the thread may set it at any moment, and it must not be lost
            fatal, self._fatal = self._fatal, None
            raise fatal

    def finish(self) -> None:
        """Wait for the save under way, and try once more the saves that failed.

        Raises:
            CheckpointError: A checkpoint that was asked for is not saved; names each and the reason.
        """
        self.wait()
        self._retry()
        self._tell(None)
        self.check()
        if self._unsaved:
            lines = [f"{name}: {error}" for name, (_, error) in self._unsaved.items()]
            newest = next(iter(list_checkpoints(self.folder)), None)
            self._unsaved.clear()
            raise CheckpointError(
                f"{len(lines)} checkpoint(s) of this run could NOT be saved into {self.folder}, tried again at the "
                f"end: {'; '.join(lines)}. {f'The newest one there is {newest.name}.' if newest else 'There is none.'} "
                'Make room, or mend the reason, and go on from there with resume="auto".'
            )

    def abandon(self) -> None:
        """Wait for the save under way, and log what is not saved; raises nothing.

        Called at every end of training. After a `finish` that succeeded there is nothing left to log; otherwise another
        error or a Ctrl-C ended the run, and must not be hidden by one of a save.
        """
        try:
            self.wait()
        except CheckpointError as error:
            logger.error("%s", error)
        for name, (_, error) in self._unsaved.items():
            logger.error("CHECKPOINT NOT SAVED: %s: %s", name, error)
        self._unsaved.clear()

    def newest(self, flaw: Callable[[Path], str | None] = lambda path: None) -> Path | None:
        """The newest ``step-...`` checkpoint that is whole; damaged ones are passed over with a warning.

        Args:
            flaw: Further check of a whole checkpoint: says what is wrong with it, or None.

        Returns:
            Its folder; None if there is no checkpoint.

        Raises:
            CheckpointError: There are checkpoints, but all are damaged.
        """
        candidates = list_checkpoints(self.folder)
        for path in candidates:
            damage = _problem(path)
            problem = damage or flaw(path)
            if problem is None:
                return path
            logger.warning("checkpoint %s is %spassed over: %s", path, "damaged and is " if damage else "", problem)
        if candidates:
            raise CheckpointError(
                f"all {len(candidates)} checkpoints in {self.folder} are damaged or not finite (see the log above). "
                "Restore one from a backup, or start anew in another log_dir."
            )
        return None

    # ------------------------------------------------------------------ one save

    def _complete(self, save: _Save, writer: CheckpointWriter | None) -> None:
        """Thread: complete a save, then try again the saves that failed before."""
        if self._committed(save, writer):
            self._retry()

    def _written(self, save: _Save) -> CheckpointWriter | None:
        """Write a save into its temporary folder; None if that failed (which is noted)."""
        writer = CheckpointWriter(self.folder / save.name)
        done = self._try(save, lambda: writer.write(save.variables, save.state, save.about))
        return writer if done else None

    def _committed(self, save: _Save, writer: CheckpointWriter | None) -> bool:
        """Sync and rename a save, after writing it if no `writer` has; False if that failed (which is noted)."""
        writer = writer or self._written(save)
        if writer is None or not self._try(save, writer.commit):
            return False
        self._tell(save.name)
        self._unsaved.pop(save.name, None)
        # A step checkpoint that failed is dropped once a newer one is whole; a named one ("best") is not: nothing that
        # comes later is what it was.
        if is_step(save.name):
            self._unsaved = {name: kept for name, kept in self._unsaved.items() if not is_step(name)}
        self._rotate(save.keep)
        return True

    def _tell(self, name: str | None) -> None:
        """Log a save, at most one in 10 s; ``None`` at the end logs the last one if it was left out."""
        now = time.monotonic()
        soon = name is not None and now - self._told < _TELL
        self._saved, name = (name, None) if soon else (None, name or self._saved)
        if name is not None:
            self._told = now
            logger.info("saved checkpoint %s", self.folder / name)

    def _retry(self) -> None:
        # The snapshots of failed saves are kept in memory for this. The first that fails again ends it: the reason (a
        # full disk) is the same for all.
        for save, _ in list(self._unsaved.values()):
            if not self._committed(save, None):
                return

    def _try(self, save: _Save, action: Callable[[], object]) -> bool:
        """Do a part of a save; an error is noted as fatal or to be tried again, and the answer is False."""
        try:
            action()
        except (OSError, FlowtrainError) as error:
            self.failures += 1
            if not isinstance(error, OSError) or error.errno in _LASTING:
                self._fatal = CheckpointError(
                    f"CHECKPOINT NOT SAVED: {save.name}: {error}. No later one could be: training stops here. "
                    f"The older checkpoints in {self.folder} are as they were."
                )
                self._fatal.__cause__ = error
                return False
            self._unsaved[save.name] = save, error
            logger.error(
                "CHECKPOINT NOT SAVED: %s: %s. It is tried again after the next one, and at the end; training goes on. "
                "The older checkpoints in %s are as they were.",
                save.name,
                error,
                self.folder,
            )
            return False
        return True

    def _rotate(self, keep: int | None) -> None:
        # Only after the new one is renamed into place: a kill between the two leaves one too many, never one too few.
        if keep is not None:
            for path in list_checkpoints(self.folder)[max(keep, 1) :]:
                shutil.rmtree(path, ignore_errors=True)


def read_run_state(path: str | Path) -> dict[str, Any]:
    """Read ``state.msgpack`` of a checkpoint, and check its form: progress, data position, callbacks, monitors, ...

    Raises:
        CheckpointError: The file is missing or damaged, or lacks a part that every run has.
    """
    state = read_state(path)
    problem = mismatch(state, _RUN_STATE, "the state")
    if problem is not None:
        raise CheckpointError(f"{path} does not hold the state of a run: {problem}")
    return state


def _problem(path: Path) -> str | None:
    problem = check_checkpoint(path, deep=True)
    if problem is None:
        try:
            read_run_state(path)
        except CheckpointError as error:
            return str(error)
    return problem
