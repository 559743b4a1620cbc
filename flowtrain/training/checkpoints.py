"""The checkpoints of one run: saving beside the training, keeping the newest, finding the newest whole one."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowtrain.model.checkpoint_io import (
    CheckpointWriter,
    check_checkpoint,
    clear_unfinished,
    list_checkpoints,
    read_state,
)
from flowtrain.utils.errors import CheckpointError, FlowtrainError
from flowtrain.utils.schema import Anything, Flag, ListOf, MapOf, Nullable, Number, Record, Row, Text, Whole, mismatch

__all__ = ["Checkpoints", "read_run_state"]

logger = logging.getLogger("flowtrain.training")

_PATIENCE = 600.0  # seconds to wait for a disk

_NAME = Text(10_000)
_RUN_STATE = Record(
    {
        "progress": Record({"epoch": Whole(), "epoch_done": Flag(), "local_step": Whole(0), "global_step": Whole(0)}),
        "data": Anything(),
        "callbacks": MapOf(_NAME, Anything()),
        "monitors": Record(
            {
                "history": MapOf(_NAME, ListOf(Row(Whole(), Anything()))),
                "monitors": ListOf(Row(_NAME, Anything())),
            }
        ),
        "random": Record(
            {
                # what random.getstate() and np.random.get_state(legacy=False) give
                "python": Row(Whole(), ListOf(Whole(0, 2**32 - 1)), Nullable(Number())),
                "numpy": Record({"bit_generator": Text(), "state": Record({}, others=Anything())}, others=Anything()),
            }
        ),
    },
    others=Anything(),
)


class Checkpoints:
    """Saves and finds checkpoints in a folder. A save that fails shouts, and leaves training and older ones alone.

    Args:
        folder: ``<log_dir>/checkpoints``.

    Attributes:
        failures: How many saves have failed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.failures = 0
        self._thread: threading.Thread | None = None

    def clear(self) -> None:
        """Remove what a killed process left half written."""
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
        """Save.

        The caller waits until the variables are in the file, then syncing and renaming go on beside it; with
        `background` it does not wait at all. One save at a time.

        Args:
            name: Of the checkpoint's folder.
            variables: Readable name -> tensor that does not change.
            state: Everything else.
            about: For the manifest.
            keep: How many ``step-...`` checkpoints to keep; None: all.
            background: Whether to write beside the training too.
        """
        self.wait()
        writer = CheckpointWriter(self.folder / name)
        if not background and not self._try(name, lambda: writer.write(variables, state, about)):
            return

        def finish() -> None:
            if background and not self._try(name, lambda: writer.write(variables, state, about)):
                return
            if self._try(name, writer.commit):
                logger.info("saved checkpoint %s", self.folder / name)
                self._rotate(keep)

        self._thread = threading.Thread(target=finish, name="flowtrain-saver")
        self._thread.start()

    def wait(self) -> None:
        """Wait for the save under way.

        Raises:
            CheckpointError: It does not end: the disk hangs.
        """
        if self._thread is not None:
            self._thread.join(_PATIENCE)
            if self._thread.is_alive():
                raise CheckpointError(
                    f"saving into {self.folder} has taken more than {_PATIENCE:.0f} s: does the disk hang?"
                )
            self._thread = None

    def newest(self) -> Path | None:
        """The newest whole checkpoint; damaged ones are reported by name and passed over.

        Raises:
            CheckpointError: There are checkpoints, but all are damaged.
        """
        candidates = list_checkpoints(self.folder)
        for path in candidates:
            problem = _problem(path)
            if problem is None:
                return path
            logger.warning("checkpoint %s is damaged and is passed over: %s", path, problem)
        if candidates:
            raise CheckpointError(
                f"all {len(candidates)} checkpoints in {self.folder} are damaged (see the log above). "
                "Restore one from a backup, or start anew in another log_dir."
            )
        return None

    def _try(self, name: str, action: Any) -> bool:
        try:
            action()
        except (OSError, FlowtrainError) as error:
            self.failures += 1
            logger.error(
                "CHECKPOINT NOT SAVED: %s: %s. Training goes on; the older checkpoints in %s are as they were.",
                name,
                error,
                self.folder,
            )
            return False
        return True

    def _rotate(self, keep: int | None) -> None:
        if keep is not None:
            for path in list_checkpoints(self.folder)[max(keep, 1) :]:
                shutil.rmtree(path, ignore_errors=True)


def read_run_state(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint's state and see that it is that of a run.

    Raises:
        CheckpointError: It is missing or damaged, or a part that every run has is not there.
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
