"""A test set judged outside training: every source of a model, every kind of metric."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from skimage.metrics import peak_signal_noise_ratio

import flowtrain as ft
from flowtrain.utils.errors import ConfigError, TrainingError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(10, 4)).astype(np.float32)
Y = (X.sum(1, keepdims=True) > 0).astype(np.float32)


class Halve(ft.ModelDesc):
    """The cleaned picture is the noisy one times a weight."""

    def inputs(self):
        return [tf.TensorSpec((None, 8, 8, 1), tf.float32, name) for name in ("noisy", "clean")]

    def build_graph(self, noisy, clean):
        weight = ft.get_variable("weight", (), initializer="ones")
        denoised = tf.identity(noisy * weight, name="denoised")
        return tf.reduce_mean(tf.square(denoised - clean), name="loss")

    def optimizer(self):
        return keras.optimizers.SGD(0.1)


def pictures(count=5, batch=2):
    clean = np.random.default_rng(1).random((count, 8, 8, 1), np.float32)

    def spoil(dp, rng):
        return [dp[0] + np.float32(0.1) * rng.standard_normal(dp[0].shape, np.float32), dp[0]]

    ds = ft.RandomMapData(ft.DataFromArrays(clean, shuffle=False), spoil)
    return ft.BatchData(ds, batch, remainder=True)


def rows(batch=3):
    return ft.BatchData(ft.DataFromArrays(X, Y, shuffle=False), batch, remainder=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate") / "run"
    config = ft.TrainConfig(
        model=Halve(), dataflow=pictures(), callbacks=[ft.ModelSaver()], max_epoch=1, log_dir=str(folder)
    )
    return folder, ft.train(config)


@pytest.fixture(scope="module")
def net():
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(1, "sigmoid")])


def judged(source, **more):
    return ft.evaluate(source, pictures(), [ft.ImageStats("clean", "denoised", data_range=1.0)], **more)


def test_a_run_a_trainer_a_predictor_and_a_saved_model_are_judged_alike(run, tmp_path):
    folder, trainer = run
    ft.export(trainer, tmp_path / "sm", ["noisy"], ["denoised"], format="saved_model")
    ft.export(trainer, tmp_path / "frozen.pb", ["noisy"], ["denoised"])
    wanted = judged(trainer)
    weight = float(trainer.get_weights()["weight"])
    assert weight != 1
    psnrs = [
        peak_signal_noise_ratio(clean[..., 0], weight * noisy[..., 0], data_range=1.0)
        for batch in pictures()
        for noisy, clean in zip(*batch, strict=True)
    ]
    assert wanted["psnr"] == pytest.approx(np.mean(psnrs), abs=1e-4)
    names = ["noisy", "clean"]
    found = {
        "run": judged(folder, model=Halve()),
        "checkpoint": judged(str(next(folder.glob("checkpoints/step-*"))), model=Halve()),
        "folder": judged(tmp_path / "sm", names=names),
        "saved_model.pb": judged(str(tmp_path / "sm" / "saved_model.pb"), names=names),
        "frozen": judged(tmp_path / "frozen.pb", names=names),
        "loaded": judged(ft.load_predictor(tmp_path / "sm"), names=names),
        "offline": judged(ft.OfflinePredictor(ft.PredictConfig(Halve(), folder, ["noisy"], ["denoised"]))),
        "live": judged(trainer.get_predictor(["noisy"], ["denoised"]), names=names),
    }
    for kind, values in found.items():
        assert values == pytest.approx(wanted, abs=1e-5), kind


def test_a_model_that_was_trained_is_judged_by_its_weights(tmp_path, caplog):
    model, untrained = Halve(), judged(Halve())
    assert "has its initial weights" in caplog.text
    caplog.clear()
    config = ft.TrainConfig(model=model, dataflow=pictures(), max_epoch=3, log_dir=str(tmp_path / "run"))
    trainer = ft.train(config)
    assert judged(model) == judged(trainer) != untrained
    assert "initial weights" not in caplog.text


def test_it_finds_what_a_validation_finds_on_the_same_data(tmp_path):
    infer = [
        ft.ScalarStats("loss"),
        ft.MetricStats(lambda a, b: np.abs(a - b).mean(), ["clean", "denoised"], name="l1"),
    ]
    trainer = ft.train(
        ft.TrainConfig(
            model=Halve(),
            dataflow=pictures(),
            callbacks=[ft.InferenceRunner(pictures(), infer)],
            max_epoch=1,
            log_dir=str(tmp_path / "run"),
        )
    )
    found = ft.evaluate(trainer, pictures(), infer)
    assert found == {
        name: pytest.approx(trainer.history[f"validation_{name}"][-1][1], rel=1e-6) for name in ("loss", "l1")
    }


@pytest.mark.parametrize("as_dict", [False, True])
def test_a_plain_keras_model_and_its_files_with_any_metric_of_keras(net, tmp_path, as_dict):
    net.save(tmp_path / "net.keras")
    ds = ft.MapData(rows(), lambda dp: {"x": dp[0], "target": dp[1]}) if as_dict else rows()
    auc = keras.metrics.AUC()
    auc.update_state(Y, net(X))
    near = keras.metrics.MeanAbsoluteError()
    near.update_state(Y, net(X))
    for source in (net, tmp_path / "net.keras"):
        judges = [ft.KerasMetric("AUC"), ft.KerasMetric(keras.metrics.MeanAbsoluteError)]
        found = ft.evaluate(source, ds, judges)
        assert found["AUC"] == pytest.approx(float(auc.result()), abs=1e-6)
        assert found["mean_absolute_error"] == pytest.approx(float(near.result()), abs=1e-6)


def test_all_metrics_of_a_keras_model_desc_are_those_of_keras_evaluate(net, tmp_path):
    desc = ft.KerasModelDesc(net, "binary_crossentropy", metrics=["AUC", "mae"])
    trainer = ft.train(ft.TrainConfig(model=desc, dataflow=rows(5), max_epoch=1, log_dir=str(tmp_path / "run")))
    found = ft.evaluate(trainer, rows(), ft.KerasMetrics())
    net.compile(loss="binary_crossentropy", metrics=["AUC", "mae"])
    wanted = net.evaluate(X, Y, verbose=0, return_dict=True)
    assert found == {name: pytest.approx(value, abs=1e-5) for name, value in wanted.items()}


def test_a_short_last_batch_counts_by_its_datapoints(net):
    ones = ft.MetricStats(lambda target, prediction: float(len(target)), ["target", "prediction"], name="size")
    each = ft.MetricStats(lambda target: target[:, 0], "target", name="mean")
    found = ft.evaluate(net, rows(4), [ones, each])
    assert found == {"size": pytest.approx((4 * 4 + 4 * 4 + 2 * 2) / 10), "mean": pytest.approx(Y.mean())}


def test_two_models_see_the_same_noise_and_the_flow_stays_where_it_was(run):
    ds = pictures()
    next(iter(ds))
    before = ds.state_dict()
    seen = []
    judge = ft.MetricStats(lambda noisy: (seen.append(noisy.copy()), 0.0)[1], "noisy", name="seen")
    ft.evaluate(run[1], ds, judge)
    ft.evaluate(run[1], ds, judge)
    np.testing.assert_array_equal(np.concatenate(seen[: len(seen) // 2]), np.concatenate(seen[len(seen) // 2 :]))
    assert ds.state_dict() == before


def test_uint8_data_reaches_the_model_and_the_metric_as_it_is(tmp_path):
    inputs = keras.Input((2,), name="x")
    model = keras.Model(inputs, keras.layers.Rescaling(1 / 2, name="half")(inputs))
    ds = ft.DataFromList([{"x": np.array([[2, 4]], np.uint8), "truth": np.array([[1, 2]], np.uint16)}])
    dtypes = []

    def exact(half, truth):
        dtypes.append(truth.dtype)
        return float((half == truth).mean())

    assert ft.evaluate(model, ds, ft.MetricStats(exact, ["half", "truth"])) == {"exact": 1.0}
    assert dtypes == [np.uint16]


@pytest.mark.parametrize(
    ("judges", "names", "message"),
    [
        ([], None, "at least one Inferencer"),
        ([ft.ScalarStats("lss")], None, r"'lss' is neither .* component of the data \(noisy, clean\).*'loss'"),
        ([ft.ScalarStats("loss"), ft.ScalarStats("loss")], None, "two inferencers give 'loss'"),
        ([ft.ScalarStats("loss")], ["noisy"], r"2 components, 1 names are known \(noisy\)"),
        ([ft.ScalarStats("loss")], ["a", "b"], "the model's input 'noisy' is not among .*names="),
        ([ft.MetricStats(lambda a: a, "clean")], None, r"metric of 2 datapoints has shape \(2, 8, 8, 1\)"),
    ],
)
def test_what_does_not_fit_is_said_by_name(run, judges, names, message):
    with pytest.raises(ft.FlowtrainError, match=message):
        ft.evaluate(run[1], pictures(), judges, names=names)


def test_empty_data_weights_alone_and_no_flow_are_refused(run):
    with pytest.raises(ft.FlowtrainError, match=r"evaluate: the dataflow \[\] gave no batch"):
        ft.evaluate(run[1], [], ft.ScalarStats("loss"))
    with pytest.raises(ft.FlowtrainError, match="Give the model that they belong to"):
        ft.evaluate(run[0], pictures(), ft.ScalarStats("loss"))
    with pytest.raises(ft.FlowtrainError, match="is no dataflow"):
        ft.evaluate(run[1], 3, ft.ScalarStats("loss"))
    with pytest.raises(ft.FlowtrainError, match="nowhere"):
        ft.evaluate("nowhere", pictures(), ft.ScalarStats("loss"))


def test_averages_are_judged_where_they_are_asked_for(tmp_path):
    config = ft.TrainConfig(
        model=Halve(), dataflow=pictures(), callbacks=[ft.EMA(0.5), ft.ModelSaver()], max_epoch=2,
        log_dir=str(tmp_path / "run"),
    )  # fmt: skip
    trainer = ft.train(config)
    plain = ft.evaluate(trainer, pictures(), ft.ScalarStats("loss"))
    averaged = ft.evaluate(trainer, pictures(), ft.ScalarStats("loss"), averaged=True)
    of_run = ft.evaluate(tmp_path / "run", pictures(), ft.ScalarStats("loss"), model=Halve(), averaged=True)
    assert plain != averaged
    assert of_run == pytest.approx(averaged, rel=1e-6)


def batches():
    rng = np.random.default_rng(1)
    while True:
        yield {"x": rng.normal(size=(4, 3)).astype(np.float32)}


def mean_of(values):
    return float(np.mean(values))


def identity():
    inputs = tf.keras.Input((3,), name="x")
    return tf.keras.Model(inputs, tf.keras.layers.Identity(name="same")(inputs))


@pytest.mark.parametrize("flow", [batches, lambda: ft.DataFromGenerator(batches), lambda: ft.FilterData(
    ft.DataFromGenerator(batches), lambda dp: True), lambda: tf.data.Dataset.from_generator(
    batches, output_signature={"x": tf.TensorSpec((4, 3))})])  # fmt: skip
def test_a_flow_that_may_have_no_end_needs_steps(flow):
    judge = ft.MetricStats(mean_of, ["x"])
    with pytest.raises(ConfigError, match=r'length of .* is not known.* pass steps=100 .* or steps="all"'):
        ft.evaluate(identity(), flow(), judge)
    found = ft.evaluate(identity(), flow(), judge, steps=3)
    rng = np.random.default_rng(1)
    wanted = np.mean([np.mean(rng.normal(size=(4, 3)).astype(np.float32)) for _ in range(3)])
    assert found["mean_of"] == pytest.approx(wanted, abs=1e-6)


def test_steps_take_the_first_batches():
    rows = [{"x": np.full((2, 3), i, np.float32)} for i in range(4)]
    judge = ft.MetricStats(mean_of, ["x"])
    assert ft.evaluate(identity(), rows, judge, steps=2) == {"mean_of": 0.5}
    assert ft.evaluate(identity(), iter(rows), judge, steps="all") == ft.evaluate(identity(), rows, judge)
    assert ft.evaluate(identity(), ft.RepeatedData(ft.DataFromList(rows), -1), judge, steps=5) == {"mean_of": 1.2}
    with pytest.raises(TrainingError, match=r"(?s)steps=9, but the dataflow .* gave 4 batches"):
        ft.evaluate(identity(), rows, judge, steps=9)
    for wrong in (0, 2.5, "none", True):
        with pytest.raises(ConfigError, match="steps must be a whole number of at least 1"):
            ft.evaluate(identity(), rows, judge, steps=wrong)
