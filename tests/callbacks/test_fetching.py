"""Callbacks that look at tensors, and the summaries."""

import logging

import cv2
import numpy as np
import pytest

from flowtrain.callbacks import (
    DumpTensorAsImage,
    DumpTensors,
    MovingAverageSummary,
    ProcessTensors,
    TensorPrinter,
    TensorSummaries,
)
from flowtrain.monitors import Monitor
from flowtrain.monitors.monitor import Monitors
from flowtrain.utils import FlowtrainError

RGB = np.random.default_rng(0).random((3, 5, 4, 3))


def test_a_function_gets_the_tensors_in_order_when_due(make_trainer):
    seen = []
    tensors = {"a": lambda step: step, "b": lambda step: -step}
    callback = ProcessTensors(["b", "a"], lambda b, a: seen.append((int(b), int(a))), every_k_steps=5)
    trainer = make_trainer(callback, tensors=tensors).run()
    assert seen == [(-5, 5), (-10, 10)] and trainer.told == [5, 10]
    seen.clear()
    trainer = make_trainer(ProcessTensors(["a"], lambda a: seen.append(int(a))), tensors=tensors).run()
    assert seen == trainer.told == [4, 8, 12]


def test_tensors_are_printed(make_trainer, caplog):
    tensors = {"cost": lambda step: 0.125, "conv1/output": lambda step: np.arange(100.0).reshape(10, 10)}
    with caplog.at_level(logging.INFO, "flowtrain"):
        make_trainer(TensorPrinter(list(tensors), every_k_steps=12), tensors=tensors).run()
    cost, output = [record.getMessage() for record in caplog.records]
    assert cost == "step 12: cost = 0.125"
    assert output == "step 12: conv1/output is float64 of shape (10, 10) in [0, 99], mean 49.5"


def test_tensors_are_dumped(make_trainer, tmp_path):
    make_trainer(DumpTensors(["conv1/output"]), tensors={"conv1/output": lambda step: np.full(3, step)}).run()
    files = sorted(path.name for path in (tmp_path / "tensors").iterdir())
    assert files == ["step-000004.npz", "step-000008.npz", "step-000012.npz"]
    with np.load(tmp_path / "tensors" / files[1]) as stored:
        assert stored["conv1/output"].tolist() == [8, 8, 8]


def test_a_tensor_is_dumped_as_a_picture_in_true_colours(make_trainer, tmp_path):
    callback = DumpTensorAsImage("out", map_func=lambda x: x / 2, max_images=2)
    make_trainer(callback, tensors={"out": lambda step: RGB * 2}, max_epoch=1).run()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out-step-000004-0.png", "out-step-000004-1.png"]
    read = cv2.imread(str(tmp_path / "out-step-000004-1.png"))[..., ::-1]
    np.testing.assert_array_equal(read, np.rint(RGB[1] * 255))


def test_what_is_no_picture_is_an_error(make_trainer):
    with pytest.raises(FlowtrainError, match=r"'out' has shape \(7,\)"):
        make_trainer(DumpTensorAsImage("out"), tensors={"out": lambda step: np.zeros(7)}).run()


def test_names_are_a_list():
    with pytest.raises(FlowtrainError, match="must be a list of names"):
        TensorPrinter("cost")


def test_two_that_dump_into_one_folder_are_refused(make_trainer):
    with pytest.raises(FlowtrainError, match="tensors"):
        make_trainer(DumpTensors(["a"]), DumpTensors(["b"]))


def test_moving_averages_are_logged_at_each_epoch(make_trainer):
    trainer = make_trainer(MovingAverageSummary(), averages=lambda step: {"cost": step / 2, "lr": 0.1}).run()
    assert trainer.history == {"cost": [(4, 2.0), (8, 4.0), (12, 6.0)], "lr": [(4, 0.1), (8, 0.1), (12, 0.1)]}
    assert trainer.told == []


def test_pictures_are_logged_at_each_epoch(make_trainer):
    class Keep(Monitor):
        def put_image(self, name, image, step):
            seen.append((name, image.shape, step))

    seen = []
    trainer = make_trainer(TensorSummaries(), tensors={"image_summary/picture": lambda step: RGB}, max_epoch=2)
    trainer.monitors = Monitors([Keep()])
    trainer.run()
    assert seen == [("picture", (3, 5, 4, 3), 4), ("picture", (3, 5, 4, 3), 8)]
    assert trainer.told == [4, 8]


def test_without_pictures_no_step_is_told(make_trainer):
    assert make_trainer(TensorSummaries()).run().told == []
