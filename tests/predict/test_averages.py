import numpy as np
import pytest
import tensorflow as tf

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
from flowtrain.utils.errors import ModelError


class Line(ModelDesc):
    def __init__(self, decay=0.9):
        if decay:
            self.average_decay = decay

    def inputs(self):
        return [tf.TensorSpec((None, 2), tf.float32, "x")]

    def build_graph(self, x):
        return tf.reduce_mean(Dense("line", x, 3), name="cost")


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
