import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from flowtrain.dataflow import DataFromList
from flowtrain.layers import BatchNorm, Conv2D, Dropout
from flowtrain.model import KerasModelDesc, ModelDesc, ModelGraph
from flowtrain.model.checkpoint_io import CheckpointWriter
from flowtrain.predict import OfflinePredictor, PredictConfig, export, load_predictor, predict_dataflow
from flowtrain.training import SimpleTrainer, TrainConfig
from flowtrain.utils.errors import CheckpointError, ConfigError, FlowtrainError, ModelError, TensorNameError

L = keras.layers


class Denoiser(ModelDesc):
    def __init__(self, side=None):
        self.side = side

    def inputs(self):
        shape = (None, self.side, self.side, 1)
        return [tf.TensorSpec(shape, tf.float32, "noisy"), tf.TensorSpec(shape, tf.float32, "clean")]

    def build_graph(self, noisy, clean):
        x = BatchNorm("bn", Conv2D("conv1", noisy, 4, kernel_size=3, activation=tf.nn.relu))
        output = tf.identity(noisy - Conv2D("conv2", Dropout(x, rate=0.5), 1, kernel_size=3), name="output")
        return tf.reduce_mean(tf.square(output - clean), name="l2_loss")


@pytest.fixture(scope="module")
def graph():
    return ModelGraph(Denoiser(), seed=5)


@pytest.fixture(scope="module")
def noisy():
    return np.random.default_rng(0).normal(size=(2, 12, 10, 1)).astype("float32")


@pytest.fixture(scope="module")
def expected(graph, noisy):
    return graph.predictor(["noisy"], ["output"])(noisy)[0]


def _weights(graph):
    return graph.store.get_weights()


def _own(graph, folder):
    writer = CheckpointWriter(folder / "step-00000003")
    writer.write(_weights(graph), {}, {"global_step": 3})
    writer.commit()
    return folder / "step-00000003"


# -- TensorFlow 1, written as its users did ----------------------------------------------------------------


def _save_v1(graph, folder, resource):
    """The same network as a training graph of TensorFlow 1, with optimizer, update ops, saver and summaries."""
    v1, weights = tf.compat.v1, _weights(graph)
    with tf.Graph().as_default(), v1.Session() as session, v1.variable_scope("", use_resource=resource):
        v1.set_random_seed(1)  # dropout without one is an error where a test before has made TensorFlow deterministic
        noisy = v1.placeholder(tf.float32, (None, None, None, 1), "noisy")
        clean = v1.placeholder(tf.float32, (None, None, None, 1), "clean")
        training = v1.placeholder_with_default(False, (), "is_training")

        def get(name):
            return v1.get_variable(name, initializer=weights[name], use_resource=resource)

        x = tf.nn.relu(tf.nn.conv2d(noisy, get("conv1/kernel"), 1, "SAME") + get("conv1/bias"))
        mean, variance = get("bn/moving_mean"), get("bn/moving_variance")
        updates = v1.assign(mean, mean * 0.9)
        x = tf.nn.batch_normalization(x, mean, variance, get("bn/beta"), get("bn/gamma"), 1e-3)
        if resource:
            x = tf.cond(training, lambda: tf.nn.dropout(x, 0.5), lambda: x)
        else:
            off, on = tf.raw_ops.Switch(data=x, pred=training)
            x = tf.raw_ops.Merge(inputs=[off, tf.nn.dropout(on, 0.5)]).output
        with tf.control_dependencies([updates]):
            x = tf.identity(x)
        output = tf.subtract(noisy, tf.nn.conv2d(x, get("conv2/kernel"), 1, "SAME") + get("conv2/bias"), "output")
        loss = tf.reduce_mean(tf.square(output - clean), name="loss")
        v1.summary.scalar("loss_summary", loss)
        v1.train.AdamOptimizer().minimize(loss, v1.train.get_or_create_global_step())
        session.run(v1.global_variables_initializer())
        return v1.train.Saver().save(session, str(folder / "model.ckpt"))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("resource", [False, True])
def test_a_checkpoint_of_tensorflow_1_runs_from_its_meta(resource, graph, noisy, expected, tmp_path):
    prefix = _save_v1(graph, tmp_path, resource)
    for path in (prefix, prefix + ".meta", tmp_path):
        (output,) = load_predictor(path, ["noisy"], ["output"])(noisy)
        np.testing.assert_allclose(output, expected, atol=1e-5)
    predictor = load_predictor(prefix, ["noisy", "clean"], ["loss", "output:0"])
    assert predictor(clean=noisy, noisy=noisy)[0] == pytest.approx(np.square(expected - noisy).mean(), rel=1e-4)
    with pytest.raises(TensorNameError, match=r"no tensor named 'outptu'.*'output'"):
        load_predictor(prefix, ["noisy"], ["outptu"])
    with pytest.raises(TensorNameError, match=r"no input or tensor named 'nosy'.*'noisy'"):
        load_predictor(prefix, ["nosy"], ["output"])
    with pytest.raises(ModelError, match=r"depend on the input\(s\) \['clean'\]"):
        load_predictor(prefix, ["noisy"], ["loss"])


# -- other files ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keras_model():
    keras.utils.set_random_seed(2)
    picture, other = keras.Input((None, None, 1), name="picture"), keras.Input((3,), name="other")
    x = L.BatchNormalization()(L.Conv2D(3, 3, padding="same")(picture))
    return keras.Model([picture, other], {"map": L.Conv2D(2, 1, name="map")(x), "sum": L.Dense(1, name="sum")(other)})


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("suffix", [".keras", ".h5", "exported"])
def test_keras_files(suffix, keras_model, noisy, tmp_path):
    path = tmp_path / f"model{suffix}"
    if suffix == "exported":
        keras_model.export(path, verbose=False)
    else:
        keras_model.save(path)
    expected = keras_model([noisy, np.zeros((2, 3))])["map"]
    predictor = load_predictor(path)
    outputs = predictor(picture=noisy, other=np.zeros((2, 3), "float32"))
    np.testing.assert_allclose(outputs[0], expected, atol=1e-5)
    if suffix != "exported":
        assert load_predictor(path, outputs=["map"]).inputs == ["picture"]


def test_lambdas_are_never_run(tmp_path):
    picture = keras.Input((4,))
    model = keras.Model(picture, L.Lambda(lambda x: x * 2, output_shape=(4,))(L.Dense(4, name="d")(picture)))
    for name in ("model.keras", "model.h5"):
        model.save(tmp_path / name)
        with pytest.raises(CheckpointError, match="Code from files is never run"):
            load_predictor(tmp_path / name)


def test_a_saved_model_without_the_signature(tmp_path):
    module = tf.Module()
    tf.saved_model.save(module, str(tmp_path / "none"))
    with pytest.raises(CheckpointError, match="has no signature, so"):
        load_predictor(tmp_path / "none")
    module.double = tf.function(lambda x: {"y": x * 2}, input_signature=[tf.TensorSpec((None,), tf.float32, "x")])
    tf.saved_model.save(module, str(tmp_path / "one"), {"double": module.double.get_concrete_function()})
    with pytest.raises(CheckpointError, match=r"no signature 'doble'.*'double'"):
        load_predictor(tmp_path / "one", signature="doble")
    (doubled,) = load_predictor(tmp_path / "one")([1.0, 2.0])
    np.testing.assert_array_equal(doubled, [2, 4])
    with pytest.raises(TensorNameError, match="'y'"):
        load_predictor(tmp_path / "one", outputs=["yy"])


def test_files_that_are_cut_short(graph, tmp_path):
    definition = graph.inference.graph.as_graph_def()
    whole = definition.SerializeToString()
    (tmp_path / "variables.pb").write_bytes(whole)
    with pytest.raises(CheckpointError, match="not frozen"):
        load_predictor(tmp_path / "variables.pb")
    for length in (0, 10, len(whole) // 3, len(whole) - 1):
        (tmp_path / "short.pb").write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"short\.pb (is no frozen graph|is cut short|holds no graph)"):
            load_predictor(tmp_path / "short.pb")
    # cut between two nodes: every byte can be read, and yet a node is missing
    del definition.node[0]
    (tmp_path / "short.pb").write_bytes(definition.SerializeToString())
    with pytest.raises(CheckpointError, match=r"cut short: .* needs 'noisy'"):
        load_predictor(tmp_path / "short.pb")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_predictor(tmp_path / "saved")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_predictor(tmp_path / "saved" / "saved_model.pb")
    with pytest.raises(CheckpointError, match="there is no"):
        load_predictor(tmp_path / "nothing.pb")


def test_a_frozen_graph_that_is_damaged_or_cut(graph, noisy, tmp_path):
    path = export(graph, tmp_path / "model.pb", ["noisy"], ["output"])
    content = path.read_bytes()
    places = np.random.default_rng(0).choice(len(content), 60, replace=False)
    for place in (*range(60), *places, len(content) - 1):
        damaged = bytearray(content)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="does not match its checksum"):
            load_predictor(path, ["noisy"], ["output"])
    # the nodes come first: cut after any of them, it is a graph too
    ends = np.cumsum([0] + [_size_of(node) for node in tf.compat.v1.GraphDef.FromString(content).node])
    for end in (0, 1, 10, 30, 51, *(52 + ends), *(len(content) - np.arange(1, 9))):
        path.write_bytes(content[:end])
        with pytest.raises(CheckpointError):
            load_predictor(path, ["noisy"], ["output"])


def _size_of(node):
    """The bytes of a node in its graph."""
    alone = tf.compat.v1.GraphDef()
    alone.node.append(node)
    return alone.ByteSize()


def test_other_programs_read_a_frozen_graph_with_its_checksum_and_it_reads_theirs(graph, noisy, expected, tmp_path):
    path = export(graph, tmp_path / "model.pb", ["noisy"], ["output"])
    plain = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    imported = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(plain, name=""), [])
    run = imported.prune("noisy:0", "output:0")
    np.testing.assert_allclose(run(tf.constant(noisy)), expected, atol=1e-6)
    plain.DiscardUnknownFields()
    (tmp_path / "theirs.pb").write_bytes(plain.SerializeToString())
    np.testing.assert_allclose(load_predictor(tmp_path / "theirs.pb")(noisy)[0], expected, atol=1e-6)


# -- weights and a model ----------------------------------------------------------------------------------------


def test_an_own_checkpoint_with_its_model(graph, noisy, expected, tmp_path):
    path = _own(graph, tmp_path)
    with pytest.raises(CheckpointError, match="holds weights only"):
        load_predictor(path)
    (output,) = load_predictor(path, ["noisy"], ["output"], model=Denoiser())(noisy)
    np.testing.assert_array_equal(output, expected)


def test_offline_predictor(graph, noisy, expected, tmp_path):
    predictor = OfflinePredictor(
        PredictConfig(Denoiser(), _own(graph, tmp_path), ["noisy"], ["output", "conv1/output"])
    )
    np.testing.assert_array_equal(predictor(noisy)[0], expected)
    np.testing.assert_array_equal(predictor(noisy=noisy)[0], expected)
    assert predictor(noisy)[1].shape == (2, 12, 10, 4)
    assert "bn/output" in predictor.tensor_names()
    with pytest.raises(ModelError, match="not given"):
        predictor()
    with pytest.raises(TensorNameError, match="conv1/output"):
        OfflinePredictor(PredictConfig(graph, None, ["noisy"], ["conv/output"]))
    with pytest.raises(CheckpointError, match="conv1/kernel"):
        OfflinePredictor(PredictConfig(Denoiser(), {"a": noisy}, ["noisy"], ["output"]))
    with pytest.raises(ConfigError, match=r"Denoiser\(\)"):
        PredictConfig(Denoiser)
    with pytest.raises(ConfigError, match="Write inputs= instead"):
        PredictConfig(Denoiser(), input_names=["noisy"])
    with pytest.raises(ConfigError, match=r"Write weights=get_model_loader\(path\), or weights=path"):
        PredictConfig(Denoiser(), session_init="a")
    with pytest.raises(ConfigError, match="'outputs'"):
        PredictConfig(Denoiser(), output=["noisy"])
    with pytest.raises(ConfigError, match=r"\['noisy'\]"):
        PredictConfig(Denoiser(), inputs="noisy")


def test_named_crops(graph, noisy, expected):
    predictor = OfflinePredictor(PredictConfig(graph, outputs=["output_crop3", "output_crop0", "output_crop3:0"]))
    assert predictor.inputs == ["noisy"]
    first, second, third = predictor(noisy)
    np.testing.assert_array_equal(first, expected[:, 3:-3, 3:-3])
    np.testing.assert_array_equal(second, expected)
    np.testing.assert_array_equal(third, first)
    with pytest.raises(ModelError, match="only pictures"):
        OfflinePredictor(PredictConfig(graph, outputs=["l2_loss_crop3"]))


def test_crops_have_one_meaning_everywhere(tmp_path, noisy):
    config = TrainConfig(model=Denoiser(), max_epoch=1, steps_per_epoch=1, log_dir=tmp_path / "run")
    with SimpleTrainer(config) as trainer:
        name = "conv1/output_crop2"
        whole, crop = trainer.get_predictor(["noisy"], ["conv1/output", name])(noisy)
        np.testing.assert_array_equal(crop, whole[:, 2:-2, 2:-2])
        assert trainer.graph.inference.tensor(name) is trainer.graph.inference.tensor(name + ":0")
        exported = load_predictor(export(trainer, tmp_path / "m.pb", outputs=[name]))
        np.testing.assert_allclose(exported(noisy)[0], crop, atol=1e-6)
        assert "output_crop2" not in " ".join(trainer.graph.tensor_names())
        for find in (
            lambda wrong: trainer.get_predictor(["noisy"], [wrong]),
            lambda wrong: OfflinePredictor(PredictConfig(trainer.graph, outputs=[wrong])),
            lambda wrong: export(trainer, tmp_path / "wrong.pb", outputs=[wrong]),
        ):
            with pytest.raises(TensorNameError, match=r"conv1/output"):
                find("conv/output_crop2")


def test_a_crop_that_leaves_nothing():
    graph = ModelGraph(Denoiser(16))
    with pytest.raises(ModelError, match=r"leaves nothing of 'output', whose shape is \(None, 16, 16, 1\)"):
        graph.predictor(["noisy"], ["output_crop8"])
    assert graph.predictor(["noisy"], ["output_crop7"])(np.zeros((1, 16, 16, 1)))[0].shape == (1, 2, 2, 1)


def test_threads(graph, noisy, expected):
    predictor = OfflinePredictor(PredictConfig(graph, inputs=["noisy"], outputs=["output"]))
    results = [None] * 8

    def run(place):
        results[place] = [predictor(noisy + place)[0] for _ in range(5)]

    threads = [threading.Thread(target=run, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for place, outputs in enumerate(results):
        for output in outputs:
            np.testing.assert_array_equal(output, predictor(noisy + place)[0])


def test_over_a_dataflow(graph, noisy, expected, capsys):
    predictor = OfflinePredictor(PredictConfig(graph, inputs=["noisy"], outputs=["output"]))
    rows = DataFromList([[noisy[i % 2], noisy[i % 2]] for i in range(5)])
    batches = list(predictor.predict(rows, batch_size=2))
    assert [len(batch[0]) for batch in batches] == [2, 2, 1]
    np.testing.assert_allclose(batches[0][0], expected, atol=1e-6)
    assert "3/3" in capsys.readouterr().err
    named = DataFromList([{"clean": noisy * 0, "noisy": noisy}])
    ((output,),) = predictor.predict(named, progress=False)
    np.testing.assert_array_equal(output, expected)
    ((output,),) = predict_dataflow(predictor, DataFromList([[noisy]]), progress=False)
    np.testing.assert_array_equal(output, expected)
    assert capsys.readouterr().err == ""
    with pytest.raises(ConfigError, match="takes a DataFlow, got list"):
        list(predictor.predict([[noisy]]))
    with pytest.raises(ModelError, match=r"takes? batches: a single one is given as value\[None\]"):
        list(predictor.predict(rows))
    with pytest.raises(ConfigError, match="have no"):
        list(predictor.predict(DataFromList([{"x": noisy}])))
    both = graph.predictor(["clean", "noisy"], ["l2_loss"])
    with pytest.raises(ConfigError, match="1 components"):
        list(predict_dataflow(both, DataFromList([[noisy]])))


def test_a_keras_model_that_was_trained_here(noisy, tmp_path):
    def make(seed):
        keras.utils.set_random_seed(seed)
        return keras.Sequential([keras.Input((None, None, 1), name="picture"), L.Conv2D(2, 3, name="head")])

    trained = make(1)
    path = _own(ModelGraph(KerasModelDesc(trained, loss="mse")), tmp_path)
    for predictor in (
        OfflinePredictor(PredictConfig(KerasModelDesc(make(2), loss="mse"), path)),
        load_predictor(path, model=KerasModelDesc(make(3), loss="mse")),
        load_predictor(path, model=make(4)),
    ):
        np.testing.assert_allclose(predictor(picture=noisy)[0], trained(noisy), atol=1e-6)


def test_names_and_models_that_are_none(graph, tmp_path):
    with pytest.raises(ModelError, match=r"write \['output'\]"):
        load_predictor(_own(graph, tmp_path), outputs="output", model=Denoiser())
    with pytest.raises(ModelError, match=r"not its class: Denoiser\(\)"):
        load_predictor(_own(graph, tmp_path), outputs=["output"], model=Denoiser)
    with pytest.raises(TensorNameError, match=r"named 'psnr'. There are: bn/output, .*, output\.$|There are: .*noisy"):
        load_predictor(_own(graph, tmp_path), outputs=["psnr"], model=Denoiser())


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_damaged_keras_files_give_our_error(suffix, keras_model, tmp_path):
    path = tmp_path / f"model{suffix}"
    keras_model.save(path)
    data = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(12):
        damaged = bytearray(data)
        for place in random.integers(len(data), size=20):
            damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        try:
            load_predictor(path)
        except FlowtrainError:
            continue


@pytest.mark.parametrize("v2", [True, False])
@pytest.mark.parametrize("resource", [True, False])
def test_variables_that_are_read_inside_branches(tmp_path, v2, resource):
    """As Keras's batch normalisation does under a placeholder `is_training`, with either kind of control flow."""
    (tf.compat.v1.enable_control_flow_v2 if v2 else tf.compat.v1.disable_control_flow_v2)()
    try:
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            image = tf.compat.v1.placeholder(tf.float32, (None, None, None, 1), "input")
            training = tf.compat.v1.placeholder(tf.bool, (), "is_training")
            scale = tf.compat.v1.get_variable("scale", initializer=3.0, use_resource=resource)
            shift = tf.compat.v1.get_variable("shift", initializer=0.5, use_resource=resource)
            chosen = tf.compat.v1.cond(
                training, lambda: image * 0 + shift.read_value(), lambda: image * scale.read_value()
            )
            tf.identity(chosen + shift, name="output")
            update = tf.compat.v1.assign_add(shift, 1.0)
            session.run(tf.compat.v1.global_variables_initializer())
            tf.compat.v1.train.Saver().save(session, str(tmp_path / "model"))
            assert update is not None
    finally:
        tf.compat.v1.enable_control_flow_v2()
    predictor = load_predictor(tmp_path / "model.meta", ["input", "is_training"], ["output"])
    picture = np.random.default_rng(0).random((1, 4, 5, 1), np.float32)
    np.testing.assert_allclose(predictor(picture, False)[0], picture * 3 + 0.5, rtol=1e-6)
    np.testing.assert_allclose(predictor(picture, True)[0], np.ones_like(picture), rtol=1e-6)
    np.testing.assert_allclose(predictor(picture, False)[0], picture * 3 + 0.5, rtol=1e-6)
    export(predictor, tmp_path / "frozen.pb", batch=[picture, np.bool_(False)])
    again = load_predictor(tmp_path / "frozen.pb", ["input", "is_training"], ["output"])
    np.testing.assert_array_equal(again(picture, False)[0], predictor(picture, False)[0])


@pytest.mark.parametrize("v2", [True, False])
def test_moving_averages_that_a_branch_updates_stay_as_they_were_saved(tmp_path, v2):
    """Batch normalisation that updates its statistics inside the branch of training: its graph is for inference."""
    v1 = tf.compat.v1
    picture = np.random.default_rng(0).random((2, 4, 5, 1), np.float32)
    (v1.enable_control_flow_v2 if v2 else v1.disable_control_flow_v2)()
    try:
        with tf.Graph().as_default(), v1.Session() as session:
            image = v1.placeholder(tf.float32, (None, None, None, 1), "input")
            training = v1.placeholder(tf.bool, (), "is_training")
            average = v1.get_variable("moving_mean", initializer=0.25, trainable=False, use_resource=True)

            def update():
                mean = tf.reduce_mean(image)
                with tf.control_dependencies([v1.assign_sub(average, 0.1 * (average - mean))]):
                    return tf.identity(mean)

            tf.identity(image - v1.cond(training, update, average.read_value), name="output")
            session.run(v1.global_variables_initializer())
            v1.train.Saver().save(session, str(tmp_path / "model"))
    finally:
        v1.enable_control_flow_v2()
    predictor = load_predictor(tmp_path / "model.meta", ["input", "is_training"], ["output"])
    np.testing.assert_allclose(predictor(picture, True)[0], picture - picture.mean(), atol=1e-6)
    np.testing.assert_array_equal(predictor(picture, False)[0], picture - np.float32(0.25))
    export(predictor, tmp_path / "frozen.pb", batch=[picture, np.bool_(False)])
    again = load_predictor(tmp_path / "frozen.pb", ["input", "is_training"], ["output"])
    np.testing.assert_allclose(again(picture, True)[0], picture - picture.mean(), atol=1e-6)
    np.testing.assert_array_equal(again(picture, False)[0], picture - np.float32(0.25))


@pytest.mark.parametrize("resource", [True, False])
def test_partitioned_variables_and_those_without_a_value(tmp_path, resource):
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, (None, 4), "input")
        parts = v1.get_variable(
            "w", (4, 3), partitioner=v1.fixed_size_partitioner(3), use_resource=resource,
            initializer=v1.random_normal_initializer(seed=1),
        )  # fmt: skip
        unsaved = v1.get_variable("unsaved", initializer=2.0, use_resource=resource)
        y = tf.identity(x @ tf.convert_to_tensor(parts), name="output")
        tf.identity(y * unsaved, name="scaled")
        session.run(v1.global_variables_initializer())
        wanted = session.run(y, {x: np.eye(4)})
        v1.train.Saver([*parts]).save(session, str(tmp_path / "model"))
    (found,) = load_predictor(tmp_path / "model.meta", ["input"], ["output"])(np.eye(4, dtype=np.float32))
    np.testing.assert_array_equal(found, wanted)
    with pytest.raises(TensorNameError, match="'scaled' cannot be computed: the checkpoint has no value of 'unsaved'"):
        load_predictor(tmp_path / "model.meta", ["input"], ["scaled"])


def test_the_file_of_a_saved_model_stands_for_its_folder(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    export(model, tmp_path / "saved", format="saved_model")
    x = np.ones((1, 3), np.float32)
    np.testing.assert_allclose(load_predictor(tmp_path / "saved/saved_model.pb")(x)[0], model(x), rtol=1e-6)
