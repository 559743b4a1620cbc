"""Checkpoint folders on disk: written atomically, read with every checksum verified.

A checkpoint is a folder::

    variables.index, variables.data-0000x-of-0000y    TensorFlow's own format, under readable names: conv1/kernel
    state.msgpack                                     everything that is not a variable: epoch, data position, ...
    manifest.json                                     format, versions, shapes; size and SHA-256 of the other files,
                                                      and a SHA-256 of itself

``tf.train.load_checkpoint(f"{folder}/variables")`` reads the variables without flowtrain. The index holds a CRC32C of
each tensor, which TensorFlow checks when it reads the tensor; the manifest holds the SHA-256 of the index.

A folder is written under a temporary name, synced, and renamed. A process that is killed at any moment leaves the
earlier checkpoints and at most a temporary folder, which the next run removes.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from flowtrain.ipc.codec import CodecError, pack, unpack
from flowtrain.utils.errors import CheckpointError, ConfigError, closest
from flowtrain.utils.files import explained, fsync, replace, sha256_of, sync
from flowtrain.utils.storage import as_local

from .manifest import MANIFEST, PREFIX, STATE, read_manifest, write_manifest

__all__ = [
    "CheckpointWriter",
    "check_checkpoint",
    "check_checkpoint_name",
    "clear_unfinished",
    "find_checkpoint",
    "is_step",
    "list_checkpoints",
    "pack_state",
    "read_checkpoint",
    "read_manifest",
    "read_state",
    "refuse_missing_path",
]

_TEMPORARY = ".unfinished-"
_LARGE = 32 << 20  # bytes
_STEP = re.compile(r"step-(\d+)")


class CheckpointWriter:
    """Writes one checkpoint in two phases: `write` while no step runs, then `commit`, which may run beside training.

    Args:
        path: The folder to make. An existing one is replaced, by one atomic exchange where the system has it.

    Example:
        >>> writer = CheckpointWriter("run/checkpoints/step-00000100")       # doctest: +SKIP
        >>> writer.write({"conv1/kernel": kernel}, {"epoch": 1}, {"global_step": 100})  # doctest: +SKIP
        >>> writer.commit()  # doctest: +SKIP
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._folder = self.path.with_name(f"{_TEMPORARY}{self.path.name}-{os.getpid()}")

    def write(self, variables: Mapping[str, Any], state: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Write all files into the temporary folder.

        Args:
            variables: Readable name -> tensor or ndarray.
            state: Everything that is not a variable, as ``flowtrain.ipc.codec.pack`` takes it.
            about: JSON values for the manifest, for people and tools: epoch, global_step, versions.

        Raises:
            CheckpointError: The state holds something that cannot be packed.
            OSError: The disk refuses (full, read-only); nothing is left behind.
        """
        try:
            # A killed process may have had the same pid: containers begin with 1 each time.
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(parents=True)
            self._write(variables, state, about)
        except BaseException as error:
            self.abandon()
            if isinstance(error, tf.errors.OpError):
                raise OSError(f"TensorFlow could not write {self._folder}: {error}") from error
            raise

    def _write(self, variables: Mapping[str, Any], state: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        tensors = {name: tf.convert_to_tensor(variables[name]) for name in sorted(variables)}
        # Checked first: a write that fails after gigabytes wastes time and fills the disk for the run's other files.
        _require_space(self._folder, sum(map(_bytes, tensors.values())))
        _write_bundle(self._folder / PREFIX, tensors)
        (self._folder / STATE).write_bytes(pack_state(state))
        about_variables = {
            name: {"shape": tensor.shape.as_list(), "dtype": tensor.dtype.name} for name, tensor in tensors.items()
        }
        write_manifest(self._folder, about, about_variables)

    def commit(self) -> None:
        """Sync the temporary folder to disk and rename it; afterwards the checkpoint survives a power cut."""
        try:
            with explained(self.path):
                # In this order: a rename that reaches the disk before the content leaves a checkpoint of empty files.
                # A rename that is not synced itself may be undone by a power cut, when rotation has already removed
                # the older checkpoint.
                sync(self._folder)
                replace(self._folder, self.path)
                fsync(self.path.parent)
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Remove the temporary folder."""
        shutil.rmtree(self._folder, ignore_errors=True)


def pack_state(state: Mapping[str, Any]) -> bytes:
    """Serialise the state of a run (everything that is not a variable) for ``state.msgpack``.

    Raises:
        CheckpointError: The state holds something that cannot be packed; names the place.
    """
    try:
        return pack(dict(state))
    except CodecError as error:
        reason = str(error).removeprefix("cannot pack this value: ").partition(". ")[0]
        raise CheckpointError(
            f"the state cannot go into a checkpoint: {reason}. A state_dict holds None, numbers, strings, bytes, "
            "lists, tuples, dicts and NumPy arrays: write sorted(x) for a set, x.numpy() for a tensor."
        ) from error


def read_checkpoint(path: str | Path) -> dict[str, np.ndarray]:
    """Read all variables of a checkpoint, with every checksum verified.

    Args:
        path: A checkpoint folder, a run's log folder (its newest whole checkpoint is read), or the prefix of any
            TensorFlow checkpoint; or the URL of such a folder, which is downloaded first.

    Returns:
        Readable name -> array.

    Raises:
        CheckpointError: There is no checkpoint, or it is damaged; says which file and how.

    Example:
        >>> read_checkpoint("train_log/colorize")["conv1/kernel"].shape      # doctest: +SKIP
        (4, 4, 1, 64)
    """
    with as_local(path) as local:
        if local.with_name(local.name + ".index").exists():
            return _read_bundle(local)
        found = find_checkpoint(local)
        problem = check_checkpoint(found)
        if problem:
            raise CheckpointError(f"checkpoint {found} is damaged: {problem}")
        return _read_bundle(found / PREFIX)


def read_state(path: str | Path) -> dict[str, Any]:
    """Read everything in a checkpoint that is not a variable: epoch, step, data position, states of callbacks.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    file = Path(path) / STATE
    try:
        state = unpack(file.read_bytes())
    except (OSError, CodecError) as error:
        raise CheckpointError(f"cannot read {file}: {error}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{file} holds a {type(state).__name__}, not the state of a run")
    return state


def check_checkpoint(path: str | Path, deep: bool = False) -> str | None:
    """Check a checkpoint's files against its manifest: names, sizes and checksums.

    Args:
        path: The folder.
        deep: Also read every tensor, which checks the data files: only their size is in the manifest.

    Returns:
        What is wrong, or None.
    """
    path = Path(path)
    try:
        manifest = read_manifest(path)
        for name, expected in manifest["files"].items():
            file = path / name
            if not file.exists():
                return f"{name} is missing"
            size = file.stat().st_size
            if size != expected["bytes"]:
                return f"{name} has {size} bytes instead of {expected['bytes']}"
            if "sha256" in expected and sha256_of(file) != expected["sha256"]:
                return f"{name} does not match its checksum"
        if deep:
            _read_bundle(path / PREFIX)
    except (CheckpointError, OSError) as error:
        return str(error)
    return None


def list_checkpoints(folder: str | Path) -> list[Path]:
    """The checkpoints ``step-...`` in a folder, newest first, without named ones (best) and unfinished ones."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    # By number, not by name: steps are padded with zeros, but a long run outgrows the padding.
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := _STEP.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def is_step(name: str) -> bool:
    """Whether a checkpoint's name is ``step-NUMBER``, not a name given by a user or a saver of the best."""
    return _STEP.fullmatch(name) is not None


def check_checkpoint_name(name: str, who: str) -> str:
    """Check that a name given to a checkpoint is that of a folder in ``checkpoints``, and of no ``step-NUMBER``.

    Raises:
        ConfigError: It is a path, empty, hidden, or the name of a step, which would be deleted as an old one.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[^\x00- ./\\][^\x00-\x1f/\\]*", name) or is_step(name):
        raise ConfigError(
            f"{who}: name={name!r} is not a plain file name. Write one without / that begins with no dot, as in "
            "'before-decay'; step-NUMBER is what checkpoints without a name are called."
        )
    return name


def find_checkpoint(path: str | Path) -> Path:
    """Resolve a path to a checkpoint folder.

    Args:
        path: A checkpoint folder, a ``checkpoints`` folder or a run's log folder; of the latter two the newest
            undamaged checkpoint is taken.

    Raises:
        CheckpointError: There is no checkpoint, or all are damaged; lists each with its damage.
    """
    path = Path(path)
    if (path / MANIFEST).exists():
        return path
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    damaged = []
    for candidate in list_checkpoints(folder):
        problem = check_checkpoint(candidate)
        if problem is None:
            return candidate
        damaged.append(f"{candidate.name}: {problem}")
    if damaged:
        raise CheckpointError(f"no whole checkpoint in {folder}. Damaged: {'; '.join(damaged)}")
    refuse_missing_path(path)
    raise CheckpointError(f"{path} is not a checkpoint (it has no {MANIFEST}) and holds none")


def refuse_missing_path(path: Path) -> None:
    """Refuse a path at which there is nothing.

    Raises:
        CheckpointError: There is nothing; lists the nearest names beside it.
    """
    if not path.exists():
        if not path.parent.is_dir():
            raise CheckpointError(f"there is no {path}: there is no folder {path.parent}")
        near = [entry.name for entry in path.parent.iterdir()]
        raise CheckpointError(f"there is no {path}. {closest(path.name, near)}")


def clear_unfinished(folder: str | Path) -> None:
    """Remove temporary folders of killed processes. Hold the run's lock: another process may be writing one."""
    for path in Path(folder).glob(f"{_TEMPORARY}*"):
        shutil.rmtree(path, ignore_errors=True)


def _write_bundle(prefix: Path, tensors: Mapping[str, tf.Tensor]) -> None:
    """Write TensorFlow's checkpoint format; a large checkpoint in two halves, by two threads."""
    # Copying into the page cache is what takes the time, and one thread copies with one core. Small checkpoints would
    # lose by the threads and by the merge what they gain.
    if sum(map(_bytes, tensors.values())) < _LARGE or len(tensors) < 2:
        _save(prefix, tensors)
        return
    halves: list[dict[str, tf.Tensor]] = [{}, {}]
    sizes = [0, 0]
    for name in sorted(tensors, key=lambda name: -_bytes(tensors[name])):  # largest first, to the smaller half
        smaller = sizes.index(min(sizes))
        halves[smaller][name] = tensors[name]
        sizes[smaller] += _bytes(tensors[name])
    parts = [prefix.with_name(f"{prefix.name}-part{number}") for number in range(2)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(_save, parts, halves))
    # Merging renames the data files and joins the indices, without a copy. The "old dir" of the parts is the
    # checkpoint's own folder, so it must not be deleted.
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=[str(part) for part in parts], destination_prefix=str(prefix), delete_old_dirs=False
    )


def _save(prefix: Path, tensors: Mapping[str, tf.Tensor]) -> None:
    with tf.device("CPU:0"):  # SaveV2 has no kernel for other devices
        tf.raw_ops.SaveV2(
            prefix=str(prefix),
            tensor_names=list(tensors),
            shape_and_slices=[""] * len(tensors),
            tensors=list(tensors.values()),
        )


def _bytes(tensor: tf.Tensor) -> int:
    return tensor.dtype.size * int(tf.size(tensor))


def _read_bundle(prefix: Path) -> dict[str, np.ndarray]:
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        return {name: np.asarray(reader.get_tensor(name)) for name in reader.get_variable_to_shape_map()}
    except (tf.errors.OpError, ValueError, RuntimeError, LookupError) as error:  # IndexError: a file is too short
        files = ", ".join(sorted(file.name for file in prefix.parent.glob(f"{prefix.name}.*")))
        raise CheckpointError(f"cannot read {prefix} (files: {files or 'none'}): {error}") from error


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"the checkpoint needs {needed / 1e6:.1f} MB, the disk of {folder.parent} has {free / 1e6:.1f} MB left"
        )
