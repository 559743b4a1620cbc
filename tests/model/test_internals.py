"""What flowtrain uses of TensorFlow and Keras beyond their public interfaces still does what it needs.

When one of these fails after an upgrade, flowtrain/model/internals.py is the only place to mend.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from flowtrain.model import internals


def test_a_scratch_graph_captures_variables():
    variable = tf.Variable(2.0)
    graph = internals.scratch_graph("scratch")
    with graph.as_default():
        x = tf.compat.v1.placeholder(tf.float32, [], "x")
        y = x * variable
    assert y.graph is graph
    assert [outside is variable.handle for outside, _ in internals.external_captures(graph)] == [True]


def test_captured_variables_are_found_by_their_handles():
    known, state = tf.Variable(1.0), tf.random.Generator.from_seed(1)
    graph = internals.scratch_graph("scratch")
    with graph.as_default():
        state.normal([2]) * known
    found = internals.captured_variables(graph, {id(known.handle)})
    assert [variable is state.state for variable in found] == [True]


def test_variables_made_in_a_tf_function_are_told():
    made = []

    @tf.function
    def function():
        if not made:
            made.append(tf.Variable(1.0))
        return made[0] + 1

    function()
    assert internals.is_unlifted(made[0])
    assert not internals.is_unlifted(tf.Variable(1.0))


def test_a_traced_function_can_be_pruned():
    variable = tf.Variable(2.0)
    named = {}

    def function(x, unused):
        named["y"] = tf.multiply(x, variable, name="y")
        tf.multiply(unused, 3.0, name="z")

    specs = [tf.TensorSpec([], tf.float32, "x"), tf.TensorSpec([], tf.float32, "unused")]
    traced = internals.trace(function, specs)
    part = traced.prune([traced.graph.get_tensor_by_name("x:0")], [named["y"]])
    assert float(part(tf.constant(3.0))[0]) == 6.0
    variable.assign(5.0)
    assert float(part(tf.constant(3.0))[0]) == 15.0


def test_a_concrete_function_is_called_without_checks():
    total = tf.Variable(1.0)

    @tf.function(input_signature=[tf.TensorSpec((), tf.float32)] * 2, autograph=False)
    def add(x, y):
        return {"total": total.assign_add(x * y)}

    call = internals.quick_call(add.get_concrete_function())
    call([tf.constant(2.0), tf.constant(3.0)])
    assert float(call([tf.constant(2.0), tf.constant(3.0)])["total"]) == 13.0 == float(total)


def test_keras_pushes_a_scope_for_every_layer():
    seen = []
    stack = internals.KerasScopes(lambda layer, outermost: seen.append((layer.name, outermost)))
    with internals.isolated_keras_state(name_scope_stack=stack, object_name_uids=internals.fresh_names()):
        net = keras.Sequential([keras.layers.Dense(2), keras.layers.BatchNormalization()])
        net(tf.zeros([1, 3]))
        assert keras.layers.Dense(1).name == "dense_1"
    assert seen[0] == ("sequential", True)
    assert {("dense", False), ("batch_normalization", False)} <= set(seen)
    assert not stack


def test_the_owner_of_a_variable_is_found_and_its_values_are_seeded():
    owners, values = [], []

    def creator(next_creator, **arguments):
        owners.append(internals.keras_owner(arguments["initial_value"]))
        arguments["initial_value"] = internals.seeded_initial_value(arguments["initial_value"], 7)
        made = next_creator(**arguments)
        values.append(made.numpy())
        return made

    with tf.variable_creator_scope(creator):
        for _ in range(2):
            keras.layers.Dense(2, kernel_initializer="he_normal").build((None, 3))
            keras.layers.Dense(2, kernel_initializer=keras.initializers.RandomNormal(seed=1)).build((None, 3))
            keras.random.SeedGenerator()
            keras.random.SeedGenerator(3)
            tf.Variable(lambda: tf.random.normal([3]))
    assert [type(owner).__mro__[-2:] != (object,) for owner in owners[:3]] == [True] * 3
    assert all(isinstance(owner, keras.Variable) for owner in owners[:6])
    assert owners[6] is None
    half = len(values) // 2
    for first, second in zip(values[:half], values[half:], strict=True):
        assert np.array_equal(first, second)
    assert values[4].tolist() == [7, 0]
    assert values[5].tolist() == [3, 0]
    assert np.array_equal(values[2], keras.initializers.RandomNormal(seed=1)((3, 2)))


def test_a_tf_variable_becomes_a_keras_variable():
    raw = tf.Variable([1.0, 2.0], trainable=False)
    adopted = internals.adopt_variable(raw, "a/b/c")
    assert adopted.value is raw
    assert adopted.path == "a/b/c"
    assert adopted.name == "c"
    assert not adopted.trainable
    adopted.assign([3.0, 4.0])
    assert raw.numpy().tolist() == [3.0, 4.0]


def test_values_of_variables_can_be_swapped():
    variable, other = keras.Variable([1.0]), tf.Variable([2.0])
    with internals.swapped_values([(variable, other)]):
        assert float(variable[0]) == 2.0
    assert float(variable[0]) == 1.0


def test_losses_of_layers_are_found_and_forgotten():
    layer = keras.layers.ActivityRegularization(l2=1.0)
    layer(tf.ones([1, 2]))
    assert [float(loss) for loss in internals.own_losses(layer)] == [2.0]
    internals.clear_losses(layer)
    assert not internals.own_losses(layer)


def test_names_that_keras_made_are_told_from_given_ones():
    assert internals.auto_named(keras.layers.Dense(1))
    assert internals.auto_named(keras.layers.BatchNormalization())
    assert not internals.auto_named(keras.layers.Dense(1, name="mine"))
    assert not internals.auto_named(keras.layers.Dense(1, name="dense_one"))
    assert [layer.name for layer in internals.sublayers(keras.Sequential([keras.layers.Dense(1, name="a")]))] == ["a"]


def test_regularizers_made_in_a_graph_work_outside():
    with internals.scratch_graph("scratch").as_default():
        regularizer = keras.regularizers.L1(0.5)
        internals.make_concrete(regularizer)
    assert float(regularizer(tf.ones([4]))) == 2.0


def test_calls_in_the_background_run_in_order_and_an_error_is_forgotten_when_asked():
    variable = tf.Variable(1.0)

    @tf.function
    def step(factor):
        tf.debugging.assert_positive(factor)
        return variable.assign(variable * factor + 1.0)

    executor = internals.BackgroundExecutor()
    with executor.scope():
        results = [step(tf.constant(2.0)) for _ in range(10)]
    assert [float(result) for result in results[:3]] == [3.0, 7.0, 15.0]
    for _ in range(100):  # a result may tell of the error before the executor knows
        with pytest.raises(tf.errors.InvalidArgumentError), executor.scope():
            [float(result) for result in [step(tf.constant(factor)) for factor in (-1.0, 1.0, 1.0)]]
        executor.forget_error()
    before = float(variable)
    with executor.scope():
        result = step(tf.constant(1.0))
    assert float(result) == before + 1.0
