"""Checkpoint folders on disk: how one is written so that it is either whole or not there, and how it is read.

A checkpoint is a folder::

    variables.index, variables.data-0000x-of-0000y    TensorFlow's own format, under readable names: conv1/kernel
    state.msgpack                                     everything that is not a variable: epoch, data position, ...
    manifest.json                                     format, versions, shapes; size and SHA-256 of the other files,
                                                      and a SHA-256 of itself

``tf.train.load_checkpoint(f"{folder}/variables")`` reads the variables without flowtrain. The data file holds a CRC32C
of each tensor, which reading checks; the index that holds those is itself under the manifest's SHA-256.

A folder is written under a temporary name, synced, and renamed: a process killed at any moment leaves the
checkpoints that were there before, and at most a temporary folder that the next run clears away.
"""

from __future__ import annotations

import hashlib
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
from flowtrain.utils.errors import CheckpointError, closest
from flowtrain.utils.files import explained, fsync, replace, sync
from flowtrain.utils.storage import as_local

from .manifest import MANIFEST, PREFIX, STATE, read_manifest, write_manifest

__all__ = [
    "CheckpointWriter",
    "check_checkpoint",
    "clear_unfinished",
    "find_checkpoint",
    "is_step",
    "list_checkpoints",
    "pack_state",
    "read_checkpoint",
    "read_manifest",
    "read_state",
]

_TEMPORARY = ".unfinished-"
_LARGE = 32 << 20  # bytes
_STEP = re.compile(r"step-(\d+)")


class CheckpointWriter:
    """Write one checkpoint in two parts: `write` while the variables stand still, `commit` at leisure.

    Args:
        path: The folder to make. One that exists is replaced, in one atomic exchange where the system has it.

    Example:
        >>> writer = CheckpointWriter("run/checkpoints/step-00000100")       # doctest: +SKIP
        >>> writer.write({"conv1/kernel": kernel}, {"epoch": 1}, {"global_step": 100})  # doctest: +SKIP
        >>> writer.commit()  # doctest: +SKIP
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._folder = self.path.with_name(f"{_TEMPORARY}{self.path.name}-{os.getpid()}")

    def write(self, variables: Mapping[str, Any], state: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Bring everything into the temporary folder.

        Args:
            variables: Readable name -> tensor or ndarray.
            state: What is no variable; anything that ``flowtrain.ipc.codec.pack`` takes.
            about: JSON values for the manifest, for people and tools: epoch, global_step, versions.

        Raises:
            CheckpointError: The state holds something that cannot be packed.
            OSError: The disk refuses (full, read-only); nothing is left behind.
        """
        try:
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
        # Asked before gigabytes are written in vain, on a disk that other checkpoints of the run lie on too.
        _require_space(self._folder, sum(map(_bytes, tensors.values())))
        _write_bundle(self._folder / PREFIX, tensors)
        (self._folder / STATE).write_bytes(pack_state(state))
        about_variables = {
            name: {"shape": tensor.shape.as_list(), "dtype": tensor.dtype.name} for name, tensor in tensors.items()
        }
        write_manifest(self._folder, about, about_variables)

    def commit(self) -> None:
        """Sync the temporary folder to disk and give it its name; afterwards the checkpoint survives a power cut."""
        try:
            with explained(self.path):
                # In this order: a rename that reaches the disk before the content would be a checkpoint of empty files,
                # and a rename that is not synced itself is undone by a power cut, after rotation has removed the older
                # one.
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
    """What is no variable, as a checkpoint holds it.

    Raises:
        CheckpointError: It holds something that cannot be packed; names the place.
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
        path: A checkpoint folder, a run's log folder (its newest whole checkpoint), or the prefix of any
            TensorFlow checkpoint; or the URL of such a folder, of which a copy is fetched.

    Returns:
        Readable name -> array.

    Raises:
        CheckpointError: There is none, or it is damaged; says which file and how.

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
    """Read what a checkpoint holds besides variables: epoch, step, data position, states of callbacks.

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
    """Look whether a checkpoint is whole.

    Args:
        path: The folder.
        deep: Also read every tensor against its checksum.

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
            if "sha256" in expected and _sha256(file) != expected["sha256"]:
                return f"{name} does not match its checksum"
        if deep:
            _read_bundle(path / PREFIX)
    except (CheckpointError, OSError) as error:
        return str(error)
    return None


def list_checkpoints(folder: str | Path) -> list[Path]:
    """The checkpoints ``step-...`` in a folder, newest first; neither named ones (best) nor unfinished ones."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := _STEP.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def is_step(name: str) -> bool:
    """Whether a checkpoint's name is that of a step, not one that a user or a saver of the best gave it."""
    return _STEP.fullmatch(name) is not None


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint that a user means by a path.

    Args:
        path: A checkpoint folder, a ``checkpoints`` folder or a run's log folder; of the latter two the
            newest whole one is taken.

    Raises:
        CheckpointError: There is none.
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
    if not path.exists():
        near = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise CheckpointError(f"there is no {path}. {closest(path.name, near)}")
    raise CheckpointError(f"{path} is not a checkpoint (it has no {MANIFEST}) and holds none")


def clear_unfinished(folder: str | Path) -> None:
    """Remove what killed processes left. Call it only while holding the run's lock."""
    for path in Path(folder).glob(f"{_TEMPORARY}*"):
        shutil.rmtree(path, ignore_errors=True)


def _write_bundle(prefix: Path, tensors: Mapping[str, tf.Tensor]) -> None:
    """Write TensorFlow's checkpoint format; large ones by two threads, as the kernel's copying is what takes time."""
    if sum(map(_bytes, tensors.values())) < _LARGE or len(tensors) < 2:
        _save(prefix, tensors)
        return
    halves: list[dict[str, tf.Tensor]] = [{}, {}]
    sizes = [0, 0]
    for name in sorted(tensors, key=lambda name: -_bytes(tensors[name])):
        smaller = sizes.index(min(sizes))
        halves[smaller][name] = tensors[name]
        sizes[smaller] += _bytes(tensors[name])
    parts = [prefix.with_name(f"{prefix.name}-part{number}") for number in range(2)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(_save, parts, halves))
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=[str(part) for part in parts], destination_prefix=str(prefix), delete_old_dirs=False
    )


def _save(prefix: Path, tensors: Mapping[str, tf.Tensor]) -> None:
    with tf.device("CPU:0"):
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


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
