"""Graph files: frozen ``.pb``, and the ``.meta`` of a TensorFlow 1 checkpoint with the variables' values inserted.

A protocol buffer has no checksum: with a flipped byte it is mostly another graph or has other weights, and a file that
is cut between two nodes is a smaller graph. So files written here begin with a field that GraphDef does not have. It
holds the SHA-256 of everything that follows; TensorFlow and other readers skip fields that they do not know.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from flowtrain.utils.errors import CheckpointError

__all__ = ["VARIABLES", "op_name", "read_graph", "read_meta", "with_own_functions", "write_graph"]

VARIABLES = {"VariableV2", "Variable", "VarHandleOp"}
_count = itertools.count()
_READS = {"ReadVariableOp", "ResourceGather"}
_REF = 100  # DT_FLOAT_REF is DT_FLOAT + 100, and so for every dtype
_REFERENCES = {
    f"Ref{name}": name for name in ("Switch", "Merge", "Enter", "Exit", "NextIteration", "Identity", "Select")
}

_LABEL = b"flowtrain sha256"
# The key of field 16000 with wire type 2 (bytes) as a varint, the length of the bytes, and the label. 32 bytes of
# digest follow.
_SEAL = b"\x82\xe8\x07" + bytes([len(_LABEL) + 32]) + _LABEL


def write_graph(graph: tf.compat.v1.GraphDef, path: Path) -> None:
    """Write a frozen graph with a checksum, which `read_graph` verifies."""
    content = graph.SerializeToString(deterministic=True)
    path.write_bytes(_SEAL + hashlib.sha256(content).digest() + content)


def read_graph(path: str | Path) -> tf.compat.v1.GraphDef:
    """Read a frozen graph, verified by its checksum if it has one.

    Raises:
        CheckpointError: The file is missing, damaged, cut short or no graph.
    """
    graph = tf.compat.v1.GraphDef()
    _parse(path, graph, "no frozen graph")
    _check_whole(graph, path)
    return graph


def _parse(path: str | Path, message: Any, kind: str) -> None:
    """Parse a file into a protocol buffer; ``kind`` says in errors what a file that cannot be parsed is not."""
    try:
        message.ParseFromString(_unsealed(Path(path).read_bytes(), path))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    except DecodeError as error:
        raise CheckpointError(f"{path} is {kind}, or it is cut short: {error}") from None


def _unsealed(content: bytes, path: str | Path) -> bytes:
    """The bytes of the graph without the checksum before them, which is verified; all bytes if there is none."""
    # Half of the seal's bytes are enough to expect a checksum: with a flipped byte in the seal itself the file must not
    # pass for one without.
    alike = sum(byte == other for byte, other in zip(content, _SEAL, strict=False))
    if alike < len(_SEAL) // 2:
        return content
    digest, graph = content[len(_SEAL) : len(_SEAL) + 32], content[len(_SEAL) + 32 :]
    if alike < len(_SEAL) or hashlib.sha256(graph).digest() != digest:
        raise CheckpointError(f"{path} is damaged: it does not match its checksum. Export the model again.")
    return graph


def read_meta(
    path: str | Path, values: Mapping[str, np.ndarray]
) -> tuple[tf.compat.v1.GraphDef, dict[str, np.ndarray], dict[str, str]]:
    """Read the graph of a TensorFlow 1 checkpoint for inference, with the values of its variables inserted.

    Operations that only training needs (assignments, optimizers, savers, input queues) are left out.

    Args:
        path: The .meta file.
        values: The checkpoint's variables by name.

    Returns:
        (graph, live, lacking). In the graph, variables are constants; those whose handles are passed into branches or
        loops must stay variables and are placeholders of dtype resource. ``live`` has the values of the latter, by the
        placeholder's name. ``lacking`` names, for each operation that was left out because a variable has no value,
        that variable.

    Raises:
        CheckpointError: The file is missing, damaged, cut short or no graph.
    """
    meta = tf.compat.v1.MetaGraphDef()
    _parse(path, meta, "no graph of TensorFlow 1")
    _check_whole(meta.graph_def, path)
    try:
        return _with_values(meta.graph_def, _with_parts(meta.graph_def, values))
    except CheckpointError:
        raise
    except Exception as error:  # a damaged graph can make TensorFlow raise anything
        raise CheckpointError(f"the graph of {path} is damaged: {error}") from error


def _check_whole(graph: tf.compat.v1.GraphDef, path: str | Path) -> None:
    if not graph.node:
        raise CheckpointError(f"{path} holds no graph: it is empty or of another kind.")
    names = {node.name for node in graph.node}
    for node in graph.node:
        for given in node.input:
            if op_name(given) not in names:
                raise CheckpointError(
                    f"{path} is cut short: {node.name!r} needs {op_name(given)!r}, which is not in it."
                )


def op_name(tensor: str) -> str:
    """The operation of an input as a node names it: of ``^name`` (control), ``name`` and ``name:1``."""
    return tensor.removeprefix("^").split(":")[0]


def _with_parts(graph: tf.compat.v1.GraphDef, values: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Add the values of a partitioned variable's parts.

    The graph has a variable ``NAME/part_0``, ``NAME/part_1``, ... for each part, the checkpoint one value, NAME.
    """
    parts: dict[str, dict[int, list[int]]] = {}
    for node in graph.node:
        found = re.fullmatch(r"(.+)/part_(\d+)", node.name)
        if node.op in VARIABLES and found and node.name not in values and found[1] in values:
            parts.setdefault(found[1], {})[int(found[2])] = [size.size for size in node.attr["shape"].shape.dim]
    made: dict[str, np.ndarray] = {}
    for name, shapes in parts.items():
        whole, ordered = values[name], [shapes[number] for number in sorted(shapes)]
        # A partitioner cuts along one axis, which is the one where a part is smaller than the whole.
        axis = next((axis for axis, size in enumerate(ordered[0]) if size != whole.shape[axis]), 0)
        pieces = np.split(whole, np.cumsum([shape[axis] for shape in ordered])[:-1], axis)
        if [list(piece.shape) for piece in pieces] == ordered:
            made.update((f"{name}/part_{number}", piece) for number, piece in zip(sorted(shapes), pieces, strict=True))
    return {**values, **made}


def _with_values(
    graph: tf.compat.v1.GraphDef, values: Mapping[str, np.ndarray]
) -> tuple[tf.compat.v1.GraphDef, dict[str, np.ndarray], dict[str, str]]:
    # A handle that is only read here can become a constant, and its reads identities. One that goes into a branch, a
    # loop or a function is read in there, where an operation expects a handle: it must stay one.
    handles = {node.name for node in graph.node if node.op == "VarHandleOp"}
    passed_on = {
        op_name(given)
        for node in graph.node
        if node.op not in _READS and not _writes(node)
        for given in node.input
        if not given.startswith("^") and op_name(given) in handles
    }
    kept: dict[str, tf.compat.v1.NodeDef] = {}
    removed: set[str] = set()
    lacking: dict[str, str] = {}
    live: dict[str, np.ndarray] = {}
    for node in _in_order(graph):
        if node.name in passed_on and _value(node, values) is not None:
            live[node.name] = _value(node, values)
            made = _handle(node)
        elif node.op in VARIABLES:
            made = _constant(node, values)
        elif node.op in _READS and node.input and op_name(node.input[0]) in handles - live.keys():
            made = _read(node)
        elif _writes(node):
            made = None
        else:
            made = _without_references(node)
        # An operation goes, too, when it needs the value of one that has gone; since nodes come in order, `removed` is
        # complete for its inputs. One that only waits for it (a control input) stays and waits no longer.
        needed = [] if made is None else [op_name(given) for given in made.input if not given.startswith("^")]
        before = [name for name in needed if name in removed]
        if made is None or before:
            removed.add(node.name)
            reason = node.name if made is None and node.op in VARIABLES else next(map(lacking.get, before), None)
            if reason is not None:
                lacking[node.name] = reason
        else:
            kept[node.name] = made
    result = tf.compat.v1.GraphDef()
    result.versions.CopyFrom(graph.versions)
    result.library.CopyFrom(graph.library)
    for function in result.library.function:
        _leave_out_updates(function)
    for node in kept.values():
        copy = result.node.add()
        copy.CopyFrom(node)
        # What has been removed can be left here as a control input only: a wait for an update, which is training's.
        copy.input[:] = [given for given in node.input if op_name(given) not in removed]
        copy.attr.pop("_class", None)  # colocation with an operation that may have been removed
        copy.attr.pop("_output_shapes", None)  # of the variables' references, which are values now
        copy.device = ""  # of the machine that trained: "/gpu:3" may not exist here
    return result, {name: value for name, value in live.items() if name in kept}, lacking


def _leave_out_updates(function: tf.compat.v1.GraphDef) -> None:
    """Remove operations that write variables (moving averages) from the body of a branch or loop, in place."""
    used = {op_name(given) for node in function.node_def for given in node.input if not given.startswith("^")}
    used |= {op_name(tensor) for tensor in function.ret.values()}
    gone = {node.name for node in function.node_def if _writes(node)} - used
    if not gone:
        return
    staying = [node for node in function.node_def if node.name not in gone]
    for node in staying:
        node.input[:] = [name for name in node.input if not (name.startswith("^") and op_name(name) in gone)]
    # As copies: clearing the list below would clear the messages in it.
    copies = [type(node).FromString(node.SerializeToString()) for node in staying]
    del function.node_def[:]
    function.node_def.extend(copies)
    for name in [name for name, op in function.control_ret.items() if op in gone]:
        del function.control_ret[name]
        function.signature.control_output.remove(name)


def _without_references(node: tf.compat.v1.NodeDef) -> tf.compat.v1.NodeDef:
    """Rewrite a node that takes references to variables, as TensorFlow 1's branches and loops do, to take values."""
    plain = _REFERENCES.get(node.op)
    if plain is None and not any(attr.type > _REF for attr in node.attr.values()):
        return node
    made = tf.compat.v1.NodeDef()
    made.CopyFrom(node)
    made.op = plain or node.op
    for attr in made.attr.values():
        attr.type -= _REF if attr.type > _REF else 0
    return made


def _writes(node: tf.compat.v1.NodeDef) -> bool:
    """Whether an operation changes a variable or has other effects: saving, restoring, queues."""
    if node.op.startswith(
        ("Assign", "Scatter", "Apply", "SparseApply", "ResourceApply", "ResourceScatter", "Restore", "Save")
    ):
        return True
    if node.op in ("CountUpTo", "IsVariableInitialized", "VarIsInitializedOp"):
        return True
    return "Queue" in node.op or node.op in ("MergeV2Checkpoints", "ShardedFilename")


def _in_order(graph: tf.compat.v1.GraphDef) -> list[tf.compat.v1.NodeDef]:
    """Nodes in topological order; the back edges of loops are ignored."""
    # Depth first with a stack of its own, since graphs are deeper than Python's recursion allows. A node is pushed a
    # second time (finished) beneath its inputs, and is done when it comes up again.
    nodes = {node.name: node for node in graph.node}
    done: dict[str, tf.compat.v1.NodeDef] = {}
    for first in graph.node:
        stack = [(first, False)]
        open_nodes: set[str] = set()
        while stack:
            node, finished = stack.pop()
            if finished:
                done.setdefault(node.name, node)
                continue
            if node.name in done or node.name in open_nodes:
                continue
            open_nodes.add(node.name)
            stack.append((node, True))
            stack += [(nodes[op_name(given)], False) for given in node.input if op_name(given) not in done]
    return list(done.values())


def _constant(node: tf.compat.v1.NodeDef, values: Mapping[str, np.ndarray]) -> tf.compat.v1.NodeDef | None:
    """The constant that replaces a variable; None if the checkpoint has no value for it."""
    value = _value(node, values)
    if value is None:
        return None
    made = tf.compat.v1.NodeDef(name=node.name, op="Const")
    made.attr["dtype"].CopyFrom(node.attr["dtype"])
    dtype = tf.as_dtype(node.attr["dtype"].type)
    made.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, dtype=dtype))
    return made


def _value(node: tf.compat.v1.NodeDef, values: Mapping[str, np.ndarray]) -> Any:
    """A variable's value, by its name or its ``shared_name``; None if the checkpoint has none."""
    shared = node.attr["shared_name"].s.decode() if "shared_name" in node.attr else ""
    return values.get(node.name, values.get(shared))


def _handle(node: tf.compat.v1.NodeDef) -> tf.compat.v1.NodeDef:
    """The placeholder that replaces a variable's handle; the handle is mapped to it when the graph is imported."""
    made = tf.compat.v1.NodeDef(name=node.name, op="Placeholder")
    made.attr["dtype"].type = tf.resource.as_datatype_enum
    made.attr["shape"].CopyFrom(tf.compat.v1.AttrValue(shape=tf.TensorShape([]).as_proto()))
    return made


def _read(node: tf.compat.v1.NodeDef) -> tf.compat.v1.NodeDef:
    """Replace the read of a resource variable by a read of the constant that replaced the variable."""
    made = tf.compat.v1.NodeDef(name=node.name)
    if node.op == "ReadVariableOp":
        made.op = "Identity"
        made.attr["T"].CopyFrom(node.attr["dtype"])
        made.input.append(op_name(node.input[0]))
    else:
        made.op = "Gather"
        made.attr["Tparams"].CopyFrom(node.attr["dtype"])
        made.attr["Tindices"].CopyFrom(node.attr["Tindices"])
        made.input.extend([op_name(node.input[0]), node.input[1]])
    made.input.extend(given for given in node.input if given.startswith("^"))
    return made


def with_own_functions(graph: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """Copy a graph, with names for its functions (branches, loop bodies) that no other graph of the process uses.

    TensorFlow's eager context registers functions by name alone, so importing one file twice would be an error.
    """
    copy = tf.compat.v1.GraphDef()
    copy.CopyFrom(graph)
    mark = f"_f{next(_count)}"
    names = {function.signature.name for function in copy.library.function}
    for function in copy.library.function:
        function.signature.name += mark
    for gradient in copy.library.gradient:
        gradient.function_name += mark
        gradient.gradient_func += mark if gradient.gradient_func in names else ""
    for node in [*copy.node, *(node for function in copy.library.function for node in function.node_def)]:
        if node.op in names:
            node.op += mark
        for value in node.attr.values():
            for called in [value.func] if value.HasField("func") else value.list.func:
                called.name += mark if called.name in names else ""
    return copy
