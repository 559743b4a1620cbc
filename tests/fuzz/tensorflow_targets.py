"""Everything of the training half that takes bytes from files, each as a function of bytes."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from kit import Target, in_file, in_folder, look

from flowtrain.model.checkpoint_io import CheckpointWriter, check_checkpoint, read_checkpoint, read_state
from flowtrain.model.manifest import MANIFEST, read_manifest
from flowtrain.predict.graphfile import read_graph, read_meta, write_graph
from flowtrain.utils.errors import CheckpointError

_DIGEST = slice(14, 14 + 64)  # of a manifest


@functools.cache
def _checkpoint() -> dict[str, bytes]:
    """The files of a small checkpoint."""
    with in_folder() as folder:
        writer = CheckpointWriter(folder / "step-00000001")
        state = {"epoch": 1, "global_step": 3, "dataflow": {"epoch": 1, "index": 5}, "callbacks": [(1, "x")]}
        writer.write({"a/kernel": tf.ones((2, 3)), "b": tf.constant(["x"])}, state, {"epoch": 1})
        writer.commit()
        return {file.name: file.read_bytes() for file in (folder / "step-00000001").iterdir()}


def _manifest(data: bytes) -> None:
    """As it is, and with the checksum that it should have, so that what is behind that is met too."""
    sealed = data[: _DIGEST.start] + hashlib.sha256(data[_DIGEST.stop :]).hexdigest().encode() + data[_DIGEST.stop :]
    for content in (data, sealed):
        with in_folder() as folder:
            for name, other in _checkpoint().items():
                (folder / name).write_bytes(content if name == MANIFEST else other)
            check_checkpoint(folder, deep=False)
            try:
                read_manifest(folder)
            except CheckpointError:
                continue


def _manifest_seeds() -> Iterator[bytes]:
    whole = _checkpoint()[MANIFEST]
    yield whole
    yield whole.replace(whole[: whole.index(b'"format"')], b"{\n ")  # of a version that had no checksum


def _bundle(data: bytes) -> None:
    """One file of a checkpoint is other: as a part of a checkpoint, and as TensorFlow's alone, without a manifest."""
    files = list(_checkpoint())
    name, content = files[data[0] % len(files) if data else 0], data[1:]
    with in_folder() as folder:
        for other, right in _checkpoint().items():
            (folder / other).write_bytes(content if other == name else right)
        check_checkpoint(folder, deep=True)
        for read in (read_checkpoint, read_state, lambda path: read_checkpoint(path / "variables")):
            try:
                look(read(folder))
            except CheckpointError:
                continue


def _bundle_seeds() -> Iterator[bytes]:
    for number, content in enumerate(_checkpoint().values()):
        yield bytes([number]) + content


def _graph(data: bytes) -> None:
    with in_file(data, "x.pb") as path:
        for read in (read_graph, lambda path: read_meta(path, {"w": np.ones(2, np.float32)})):
            try:
                read(path)
            except CheckpointError:
                continue


@functools.cache
def _graphs() -> list[bytes]:
    graph = tf.Graph()
    with graph.as_default():
        x = tf.compat.v1.placeholder(tf.float32, (None, 2), "x")
        tf.nn.relu(x * tf.constant([1.0, 2.0]), name="y")
    definition = graph.as_graph_def()
    with in_folder() as folder:
        write_graph(definition, folder / "x.pb")
        sealed = (folder / "x.pb").read_bytes()
    other = tf.Graph()
    with other.as_default():
        w = tf.compat.v1.get_variable("w", (2,), use_resource=True)
        tf.add(tf.compat.v1.placeholder(tf.float32, (2,), "x"), w, name="y")
        meta = tf.compat.v1.MetaGraphDef(graph_def=other.as_graph_def())
    return [definition.SerializeToString(), sealed, meta.SerializeToString()]


def _graph_seeds() -> Iterator[bytes]:
    yield from _graphs()


TARGETS = {
    "manifest": Target(_manifest, (CheckpointError,), _manifest_seeds),
    "bundle": Target(_bundle, (CheckpointError,), _bundle_seeds),
    "graph": Target(_graph, (CheckpointError,), _graph_seeds),
}
