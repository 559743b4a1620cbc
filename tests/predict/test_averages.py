import numpy as np
import pytest
import tensorflow as tf

from flowtrain.callbacks import EMA, ModelSaver
from flowtrain.dataflow import DataFromList
from flowtrain.layers import Dense
from flowtrain.model import ModelDesc, ModelGraph
from flowtrain.predict import (
    OfflinePredictor,
    PredictConfig,
    export,
    get_model_loader,
    load_predictor,
    read_weights,
)
from flowtrain.training import SimpleTrainer, TrainConfig
from flowtrain.utils.errors import ModelError


class Line(ModelDesc):
    def __init__(self, decay=0.9):
        if decay:
            self.average_decay = decay

    def inputs(self):
        return [tf.TensorSpec((None, 2), tf.float32, "x")]

    def build_graph(self, x):
        return tf.reduce_mean(Dense("line", x, 3), name="cost")

    def optimizer(self):
        return tf.keras.optimizers.SGD(0.1)


@pytest.fixture
def graph():
    graph = ModelGraph(Line())
    average = {"average/line/kernel": np.full((2, 3), 5.0), "average/line/bias": np.full(3, 1.0)}
    graph.store.set_weights(average)
    return graph


X = np.ones((1, 2), "float32")


def test_predict_and_export_averages(graph, tmp_path):
    predictor = OfflinePredictor(PredictConfig(graph, outputs=["line/output"], averaged=True))
    np.testing.assert_allclose(predictor(X)[0], [[11, 11, 11]])
    for name in ("saved", "model.pb"):
        export(graph, tmp_path / name, outputs=["line/output"], averaged=True)
        np.testing.assert_allclose(load_predictor(tmp_path / name)(X)[0], [[11, 11, 11]])
    # in a file of averages they have the names of the weights, for models that keep none
    assert set(read_weights(tmp_path / "saved")) == {"line/kernel", "line/bias"}
    export(graph, tmp_path / "weights.npz", averaged=True)
    plain = ModelGraph(Line(decay=None))
    for name in ("saved", "weights.npz"):
        assert get_model_loader(tmp_path / name).restore(plain).fits
        np.testing.assert_allclose(plain.store.get_weights()["line/kernel"], np.full((2, 3), 5.0))


def test_models_with_and_without_averages_load_each_other(graph):
    plain = ModelGraph(Line(decay=None))
    assert get_model_loader(graph.store.get_weights()).restore(plain).fits
    plain.store.set_weights({"line/kernel": np.full((2, 3), 7.0)})
    assert get_model_loader(plain.store.get_weights()).restore(graph).fits
    np.testing.assert_allclose(graph.store.get_weights()["average/line/kernel"], np.full((2, 3), 7.0))


def test_a_model_without_averages():
    with pytest.raises(ModelError, match="average"):
        OfflinePredictor(PredictConfig(ModelGraph(Line(decay=None)), outputs=["line/output"], averaged=True))


def trained(log_dir, model, *callbacks, resume=None, max_epoch=2):
    config = TrainConfig(
        model=model,
        dataflow=DataFromList([[X], [3 * X]], shuffle=False),
        callbacks=[*callbacks, ModelSaver()],
        steps_per_epoch=2,
        max_epoch=max_epoch,
        log_dir=log_dir,
    )
    with SimpleTrainer(config, resume=resume) as trainer:
        return trainer.train()


def test_the_callback_and_the_model_keep_the_same_average(tmp_path):
    asked = trained(tmp_path / "callback", Line(decay=None), EMA(0.5))
    declared = trained(tmp_path / "model", Line(0.5))
    both = trained(tmp_path / "both", Line(0.5), ema := EMA(0.5))
    expected = declared.get_weights()
    for trainer in (asked, both):
        found = trainer.get_weights()
        assert found.keys() == expected.keys() and "average/line/kernel" in found
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value)
    np.testing.assert_array_equal(ema.get_weights()["line/bias"], expected["average/line/bias"])
    assert np.abs(expected["average/line/bias"] - expected["line/bias"]).max() > 1e-3


def test_a_resumed_run_goes_on_with_its_average(tmp_path):
    whole = trained(tmp_path / "whole", Line(decay=None), EMA(0.5), max_epoch=3)
    trained(tmp_path / "cut", Line(decay=None), EMA(0.5), max_epoch=1)
    again = trained(tmp_path / "cut", Line(decay=None), EMA(0.5), max_epoch=3, resume="auto")
    for name, value in whole.get_weights().items():
        np.testing.assert_array_equal(again.get_weights()[name], value)


def test_the_averages_of_a_callback_are_found_in_its_checkpoint_and_trainer(tmp_path):
    trainer = trained(tmp_path / "run", Line(decay=None), ema := EMA(0.5))
    expected = X @ ema.get_weights()["line/kernel"] + ema.get_weights()["line/bias"]
    offline = OfflinePredictor(
        PredictConfig(Line(decay=None), tmp_path / "run", outputs=["line/output"], averaged=True)
    )
    loaded = load_predictor(tmp_path / "run", outputs=["line/output"], model=Line(decay=None), averaged=True)
    export(trainer, tmp_path / "saved", outputs=["line/output"], averaged=True)
    for predictor in (offline, loaded, load_predictor(tmp_path / "saved")):
        np.testing.assert_allclose(predictor(X)[0], expected, rtol=1e-6)


def test_two_decays_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"decay of 0\.9, and now asked for with 0\.5"):
        trained(tmp_path, Line(0.9), EMA(0.5))
