"""What flowtrain uses of TensorFlow and Keras beyond their public interfaces still does what it needs.

When one of these fails after an upgrade, flowtrain/model/internals is the only place to mend.
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


def test_operations_inside_loops_are_found():
    @tf.function(input_signature=[tf.TensorSpec((), tf.float32)], autograph=False)
    def doubled(x):
        return tf.while_loop(lambda y: y < 100.0, lambda y: (tf.multiply(y, 2.0, name="twice"),), (x,))

    graph = doubled.get_concrete_function().graph
    assert "while/twice" not in {op.name for op in graph.get_operations()}
    assert "while/twice" in {op.name for op in internals.all_operations(graph)}


def test_variables_become_constants():
    variable = tf.Variable([2.0, 3.0])
    function = tf.function(lambda x: x * variable).get_concrete_function(tf.TensorSpec((2,), tf.float32, "x"))
    graph = internals.constants_for_variables(function)
    assert {node.op for node in graph.node} <= {"Placeholder", "Const", "Mul", "Identity", "ReadVariableOp", "NoOp"}
    assert [2.0, 3.0] in [
        tf.make_ndarray(node.attr["value"].tensor).tolist() for node in graph.node if node.op == "Const"
    ]


def test_values_of_replicas_without_a_strategy_at_hand():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        mirrored = tf.Variable(1.0)
    (value,) = internals.replica_values(mirrored)
    assert value.handle is mirrored.handle
    assert internals.replica_values(7) == (7,)


def test_an_error_of_variables_made_in_later_calls_is_told():
    @tf.function
    def function():
        return tf.Variable(1.0) + 1

    with pytest.raises(ValueError, match="only supports") as caught:
        function()
    assert internals.was_made_in_function(caught.value)
    assert not internals.was_made_in_function(ValueError("shapes differ"))


def test_the_state_of_a_generator_is_told_by_its_name():
    made = []

    def creator(next_creator, **arguments):
        made.append(internals.is_generator_state(arguments))
        return next_creator(**arguments)

    with tf.variable_creator_scope(creator):
        tf.random.Generator.from_seed(1)
        tf.Variable(1.0)
    assert made == [True, False]


def test_a_failed_operation_is_named_without_the_frames_of_tracing():
    @tf.function
    def function(x):
        return tf.gather([1.0, 2.0], x, name="taken")

    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        function(tf.constant(5))
    text = internals.failure_of(caught.value)
    assert text.startswith("the operation 'taken' failed: ")
    assert "5 is not in [0, 2)" in text
    assert "\n" not in text and "function_node" not in text


def test_a_seed_for_a_while_leaves_the_streams_of_others():
    tf.random.set_seed(1)
    expected = [tf.random.normal([2]).numpy() for _ in range(2)]
    tf.random.set_seed(1)
    first = tf.random.normal([2]).numpy()
    drawn = []
    for _ in range(2):
        with internals.eager_seed(7):
            drawn.append(tf.random.normal([2]).numpy())
    assert np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[0], expected[0])
    assert np.array_equal([first, tf.random.normal([2]).numpy()], expected)


def test_tf_summary_calls_a_function_where_it_would_write():
    def refuse():
        raise RuntimeError("tf.summary in the graph")

    with internals.summary_writer(refuse), pytest.raises(RuntimeError, match="in the graph"):
        tf.summary.write("x", 1.0)


def test_names_of_variables_in_a_checkpoint(tmp_path):
    module = tf.Module()
    module.inner = tf.Variable([1.0], name="weights")
    prefix = tf.train.Checkpoint(module=module).write(str(tmp_path / "saved"))
    names = internals.names_in_checkpoint(tf.train.load_checkpoint(prefix))
    assert names["weights"] == ["module/inner/.ATTRIBUTES/VARIABLE_VALUE"]


def test_the_variable_inside_a_keras_variable():
    class Half(keras.layers.Layer):
        def build(self, shape):
            self.weight = self.add_weight(shape=(1,))

        def call(self, x):
            seen.extend([self.weight.value.dtype, internals.raw_variable(self.weight).dtype])
            return x

    seen: list[tf.DType] = []
    Half(dtype="mixed_float16")(tf.ones([1]))
    assert seen == [tf.float16, tf.float32]
    variable, other = keras.Variable([1.0]), tf.Variable([2.0])
    internals.set_raw_variable(variable, other)
    assert variable.value is other is internals.raw_variable(variable)


def test_a_path_names_an_optimizers_slots():
    variable = keras.Variable(np.ones((2, 3), np.float32), name="kernel")
    internals.rename(variable, "conv1/kernel")
    second = keras.Variable(np.ones(3, np.float32), name="kernel")
    internals.rename(second, "conv1/kernel_velocity")  # begins with a name of the first one's slots
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build([variable, second])
    named = dict(internals.optimizer_slots(optimizer, {"conv1/kernel": variable, "second": second}))
    assert set(named) == {
        "iteration", "learning_rate", "momentum/conv1/kernel", "velocity/conv1/kernel", "momentum/second",
        "velocity/second",
    }  # fmt: skip
    assert named["momentum/conv1/kernel"].shape == (2, 3) and named["momentum/second"].shape == (3,)


def test_every_optimizer_names_its_slots_by_paths():
    variable = keras.Variable(np.ones((4, 4), np.float32), name="kernel")
    internals.rename(variable, "a/b/kernel")
    for optimizer in (
        keras.optimizers.SGD(momentum=0.9), keras.optimizers.RMSprop(momentum=0.9, centered=True),
        keras.optimizers.Adagrad(), keras.optimizers.Adadelta(), keras.optimizers.Adamax(), keras.optimizers.Ftrl(),
        keras.optimizers.Nadam(), keras.optimizers.AdamW(amsgrad=True), keras.optimizers.Lion(),
        keras.optimizers.Adafactor(), keras.optimizers.Lamb(),
    ):  # fmt: skip
        optimizer.build([variable])
        names = [name for name, _ in internals.optimizer_slots(optimizer, {"a/b/kernel": variable})]
        slots = [name for name in names if name.endswith("/a/b/kernel")]
        assert slots and len(slots) + sum("/" not in name for name in names) == len(names), (optimizer.name, names)


def test_seeds_of_keras_are_changed_while_inside_and_by_several_at_a_time():
    plain = keras.random.SeedGenerator.next
    generator = keras.random.SeedGenerator(3)
    with internals.seeds_changed(lambda seed: seed + 10), internals.seeds_changed(lambda seed: seed + 10):
        assert generator.next().numpy().tolist() == [13, 10]
    assert keras.random.SeedGenerator.next is plain
    outer, inner = (internals.seeds_changed(lambda seed: seed + 10) for _ in range(2))
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)  # two trainings in threads do not end in the order of their beginning
    assert generator.next().numpy().tolist() == [13, 11]
    inner.__exit__(None, None, None)
    assert keras.random.SeedGenerator.next is plain
    assert generator.next().numpy().tolist() == [3, 2]


def test_a_layer_made_elsewhere_without_a_seed_is_reseeded():
    layer, given = keras.layers.Dropout(0.5), keras.layers.Dropout(0.5, seed=4)
    for one in (layer, given):
        internals.reseed(one, one.seed_generator.state, 9)
    assert layer.seed_generator.state.numpy().tolist() == [9, 0]
    assert given.seed_generator.state.numpy().tolist() == [4, 0]


def test_masks_travel_on_tensors_as_keras_lays_them():
    x = keras.layers.Embedding(5, 2, mask_zero=True)(np.array([[1, 0, 2]]))
    assert internals.keras_mask(x).numpy().tolist() == [[True, False, True]]
    assert internals.keras_mask(tf.constant(1.0)) is None
    plain = tf.constant([[[1.0], [5.0], [3.0]]])
    internals.set_keras_mask(plain, internals.keras_mask(x))
    internals.set_keras_mask(plain, None)
    assert float(keras.losses.MeanSquaredError()(tf.constant([[[1.0], [0.0], [3.0]]]), plain)) == 0.0


def test_what_is_inside_a_model_and_how_it_takes_its_inputs():
    inner = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="a"), keras.layers.Dense(1, name="b")])
    x = {"x": keras.Input((3,), name="x")}
    model = keras.Model(x, inner(x["x"]))
    assert {"a", "b", inner.name} < {layer.name for layer in internals.flat_layers(model)}
    assert list(internals.input_structure(model)) == ["x"]

    class Subclassed(keras.Model):
        pass

    assert internals.input_structure(Subclassed()) is None
    assert internals.output_spec(inner.layers[0]).shape.as_list() == [None, 2]
    assert internals.output_spec(keras.layers.Dense(1)) is None


def test_names_of_classes_as_keras_writes_them():
    assert internals.snake_case("MeanSquaredError") == "mean_squared_error"
    assert internals.snake_case("ReLU") == keras.layers.ReLU().name.rstrip("_0123456789")


def test_what_compile_sets_is_kept_apart_and_put_on_for_a_while():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mae")
    before = dict(vars(model))
    state = internals.compile_apart(model, optimizer="adam", loss="mse")
    assert vars(model) == before
    ones = tf.ones([1, 1])
    with internals.compiled_as(model, state):
        assert float(model.compute_loss(None, ones * 3.0, ones)) == 4.0
    assert float(model.compute_loss(None, ones * 3.0, ones)) == 2.0
    assert vars(model) == before


def test_losses_of_several_outputs_one_by_one():
    x = keras.Input((2,))
    model = keras.Model(x, {"a": keras.layers.Dense(1, name="a")(x), "b": keras.layers.Dense(1, name="b")(x)})
    model.compile("sgd", loss={"a": "mse", "b": "mae"}, loss_weights={"a": 10.0, "b": 1.0})
    ones, targets = tf.ones([1, 1]), {"a": tf.ones([1, 1]) * 3.0, "b": tf.ones([1, 1]) * 3.0}
    model.compute_loss(None, targets, {"a": ones, "b": ones})  # Keras arranges the losses by the outputs here
    found = internals.output_losses(model, targets, {"a": ones, "b": ones}, None)
    assert [float(loss) for loss in found] == [4.0, 2.0]


def test_accuracy_is_chosen_by_the_shapes():
    sparse = internals.metric_of("accuracy", tf.zeros([2, 1]), tf.zeros([2, 3]))
    binary = internals.metric_of("accuracy", tf.zeros([2, 1]), tf.zeros([2, 1]))
    assert isinstance(sparse.__class__, type) and "sparse" in str(vars(sparse)).lower()
    assert "binary" in str(vars(binary)).lower()
    mine = keras.metrics.MeanSquaredError(name="mine")
    assert internals.metric_of(mine, tf.zeros([2]), tf.zeros([2])) is mine
