"""What TensorFlow and Keras do not promise to keep is used in flowtrain/model/internals alone.

What a test here finds belongs into a function there, which says what it relies on, with a test of its own in
tests/model/test_internals.py.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import keras
import pytest
import tensorflow as tf

import flowtrain

PACKAGE = Path(flowtrain.__file__).parent
ROOM = PACKAGE / "model" / "internals"
WITHOUT_TENSORFLOW = ("dataflow", "ipc", "utils")  # import-linter holds that these import neither
HIDDEN_MODULES = ("tensorflow.python", "tensorflow.core", "tensorflow.compiler", "keras.src")
LIBRARIES = {"keras": keras, "tf": tf}
# of Python, public in spite of the underscore; and of NumPy's masked arrays, in the codec, which has a test of it
OF_OTHERS = {"_asdict", "_exit", "_fields", "_getframe", "_make", "_replace", "_fill_value"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def is_name(node: ast.AST, *names: str) -> bool:
    return isinstance(node, ast.Name) and node.id in names


def path_of(node: ast.AST) -> str:
    """``a.b.c`` as written; empty for anything else."""
    return ast.unparse(node) if isinstance(root_of(node), ast.Name) else ""


def root_of(node: ast.AST) -> ast.AST:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node


def own_names(tree: ast.AST) -> set[str]:
    """The private names that a module gives to attributes: methods, class attributes, what it sets on self."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_name(node.value, "self", "cls"):
            found.add(node.attr)
        if not isinstance(node, ast.ClassDef):
            continue
        for inner in node.body:
            if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(inner.name)
            elif isinstance(inner, ast.AnnAssign | ast.Assign):
                targets = [inner.target] if isinstance(inner, ast.AnnAssign) else inner.targets
                found |= {target.id for target in targets if isinstance(target, ast.Name)}
                if any(is_name(target, "__slots__", "_fields_") for target in targets) and inner.value is not None:
                    found |= {str(part.value) for part in ast.walk(inner.value) if isinstance(part, ast.Constant)}
    return {name for name in found if is_private(name)}


@functools.cache
def modules() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py") if not path.is_relative_to(ROOM)}


@functools.cache
def names_of_flowtrain() -> frozenset[str]:
    return frozenset().union(*map(own_names, modules().values()))


@functools.cache
def names_of_libraries() -> frozenset[str]:
    """Private attributes of the objects of TensorFlow and Keras that flowtrain handles."""
    layer = keras.layers.Dense(1)
    model = keras.Sequential([keras.Input((1,)), layer])
    functional = keras.Model(model.inputs, model.outputs)
    functional.compile("adam", "mse")
    function = tf.function(lambda x: x + 1.0).get_concrete_function(tf.TensorSpec((), tf.float32))
    strategy = tf.distribute.get_strategy()
    objects = [
        layer, model, functional, layer.kernel, layer.kernel.value, functional.optimizer, keras.metrics.Mean(),
        keras.losses.MeanSquaredError(), keras.regularizers.L2(), keras.initializers.GlorotUniform(),
        keras.random.SeedGenerator(), tf.constant(1.0), function, function.graph, function.outputs[0],
        function.outputs[0].op, strategy, strategy.extended, tf.random.Generator.from_seed(1), tf.TensorSpec(()),
        tf.TensorShape(()), tf.GradientTape(), tf.data.Dataset.range(1),
    ]  # fmt: skip
    kinds = [tf.distribute.DistributedValues, tf.distribute.MirroredStrategy, tf.summary.SummaryWriter]
    named = {name for thing in objects for name in [*dir(thing), *getattr(thing, "__dict__", {})]}
    return frozenset(name for name in named.union(*map(dir, kinds)) if is_private(name))


def asked_name(node: ast.AST) -> tuple[ast.AST, str] | None:
    """(receiver, name) where a node reads or sets an attribute, by a dot or by ``getattr`` and its like."""
    if isinstance(node, ast.Attribute):
        return node.value, node.attr
    if isinstance(node, ast.Call) and is_name(node.func, "getattr", "hasattr", "setattr", "delattr"):
        name = node.args[1] if len(node.args) > 1 else None
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            return node.args[0], name.value
    return None


def is_own(receiver: ast.AST) -> bool:
    """``self``, ``cls``, ``super()``, ``type(self)``: `of_a_base` looks at these where the class is a library's."""
    if isinstance(receiver, ast.Call):
        return is_name(receiver.func, "super") or (
            is_name(receiver.func, "type") and is_name(receiver.args[0], "self", "cls")
        )
    return is_name(receiver, "self", "cls")


def hidden_imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if any(name == hidden or name.startswith(f"{hidden}.") for hidden in HIDDEN_MODULES):
                yield node.lineno, f"imports {name}"


def of_a_library(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """``tf.__internal__``, ``keras.src``, and what replaces a part of the libraries: ``keras.Layer.call = ...``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_name(root_of(node), *LIBRARIES):
            if is_private(node.attr) or node.attr in ("__internal__", "src", "python"):
                yield node.lineno, f"uses {path_of(node)}"
            elif not isinstance(node.ctx, ast.Load):
                yield node.lineno, f"replaces {path_of(node)}"


def of_an_object(tree: ast.AST, sees_libraries: bool) -> Iterator[tuple[int, str]]:
    """Private attributes of anything but self that no class of flowtrain has, or a library's object has as well."""
    here = own_names(tree)
    for node in ast.walk(tree):
        asked = asked_name(node)
        if asked is None or not is_private(asked[1]) or asked[1] in OF_OTHERS or is_own(asked[0]):
            continue
        name, ours = asked[1], asked[1] in here
        if name not in names_of_flowtrain() and not ours:
            yield node.lineno, f"uses {name} of {ast.unparse(asked[0])}, which no class of flowtrain has"
        elif sees_libraries and name in names_of_libraries() and not ours:
            yield node.lineno, f"uses {name} of {ast.unparse(asked[0])}, which objects of TensorFlow or Keras have"


def of_a_base(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """What a class that is derived from a library's uses, or overrides, of the private parts of its base."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        bases = [base for base in node.bases if is_name(root_of(base), *LIBRARIES)]
        if not bases:
            continue
        inherited = names_of_libraries().union(*(dir(eval(ast.unparse(base), dict(LIBRARIES))) for base in bases))
        for inner in ast.walk(node):
            asked = asked_name(inner)
            if isinstance(inner, ast.FunctionDef) and is_private(inner.name) and inner.name in inherited:
                yield inner.lineno, f"overrides {node.name}.{inner.name}"
            elif asked and is_own(asked[0]) and is_private(asked[1]) and asked[1] not in own_names(node) - inherited:
                yield inner.lineno, f"uses {node.name}.{asked[1]}"


def reference_counts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Who holds an object is not to be guessed: the count differs between Pythons."""
    for node in ast.walk(tree):
        if (isinstance(node, ast.Attribute) and node.attr == "getrefcount") or is_name(node, "getrefcount"):
            yield node.lineno, "uses sys.getrefcount"


def uses(tree: ast.AST, sees_libraries: bool = True) -> list[tuple[int, str]]:
    found = [*hidden_imports(tree), *of_an_object(tree, sees_libraries), *reference_counts(tree)]
    if sees_libraries:
        found += [*of_a_library(tree), *of_a_base(tree)]
    return sorted(set(found))


def test_private_parts_of_tensorflow_and_keras_are_used_in_one_room():
    found = []
    for path, tree in modules().items():
        inside = path.relative_to(PACKAGE)
        for line, what in uses(tree, sees_libraries=inside.parts[0] not in WITHOUT_TENSORFLOW):
            found.append(f"flowtrain/{inside}:{line} {what}")
    assert not found, "move these into flowtrain/model/internals:\n" + "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "from keras.src.utils import naming",
        "import tensorflow.python.eager.context",
        "from tensorflow.python.framework import convert_to_constants",
        "graph = tf.__internal__.FuncGraph('x')",
        "keras.src.backend.get_keras_mask(x)",
        "keras.random.SeedGenerator.next = mine",
        "raw = variable._value",
        "layer._losses.clear()",
        "kind = initializer._init_seed",
        "functions = graph._functions",
        "shape = getattr(owner, '_shape', None)",
        "setattr(tensor, '_keras_mask', mask)",
        "strategy.extended._in_multi_worker_mode()",
        "class Mine(keras.layers.Layer):\n    def call(self, x):\n        return self._losses",
        "class Mine(keras.Variable):\n    def _initialize(self, value):\n        pass",
        "sys.getrefcount(array)",
        "from sys import getrefcount\ngetrefcount(array)",
    ],
)
def test_a_new_use_is_found(text):
    assert uses(ast.parse(text))


@pytest.mark.parametrize(
    "text",
    [
        "class Mine:\n    _value = 1\n    def of(self, other):\n        return other._value",
        "class Mine(keras.layers.Layer):\n    def __init__(self):\n        self._flow_of_mine = 1",
        "class Mine:\n    def __init__(self):\n        self._losses = super()._begin()",
        "variable.value; layer.losses; tf.compat.v1.get_default_graph(); thing.__name__; pair._replace(x=1)",
    ],
)
def test_what_is_public_or_flowtrains_own_is_left_alone(text):
    assert not uses(ast.parse(text))


def test_every_function_of_the_room_says_what_it_relies_on_and_has_a_test():
    tests = (Path(__file__).parents[1] / "model" / "test_internals.py").read_text()
    missing = []
    for path in sorted(ROOM.glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                text = ast.get_docstring(node) or ""
                if not ("Relies on:" in text and "Else:" in text):
                    missing.append(f"{path.name}: {node.name} does not say what it relies on, and what else to do")
                if f"internals.{node.name}" not in tests:
                    missing.append(f"{path.name}: {node.name} has no test in test_internals.py")
    assert not missing, "\n".join(missing)
