"""Event files, read back with TensorFlow's own messages."""

import json
import shutil
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from flowtrain.monitors import TensorBoardMonitor
from flowtrain.monitors.monitor import Monitors

tf = pytest.importorskip("tensorflow")


def events(folder):
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            yield tf.compat.v1.Event.FromString(record)


def values(folder):
    return [(event.step, value) for event in events(folder) for value in event.summary.value]


def test_scalars_pictures_histograms_and_the_graph(tmp_path):
    monitors = Monitors([TensorBoardMonitor(max_images=2)], tmp_path)
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (3, 6, 5, 3), dtype=np.uint8)
    rgba = rng.integers(0, 256, (6, 5, 4), dtype=np.uint8)
    numbers = np.concatenate([rng.normal(size=(20, 50)).ravel(), [np.nan, np.inf]])
    graph = tf.function(lambda x: x + 1.0).get_concrete_function(tf.TensorSpec((), tf.float32)).graph
    monitors.put_scalar("cost", 0.25, 7)
    monitors.put_image("pictures", rgb, 7)
    monitors.put_image("one", rgba, 8)
    monitors.put_histogram("weights", numbers, 8)
    monitors.put_histogram("constant", np.ones(5), 8)
    monitors.put_event("graph", {"graph_def": graph.as_graph_def()}, 0)
    monitors.close()

    folder = tmp_path / "tensorboard"
    first, *_ = events(folder)
    assert first.file_version == "brain.Event:2"
    found = {value.tag: (step, value) for step, value in values(folder)}
    assert list(found) == ["cost", "pictures/0", "pictures/1", "one", "weights", "constant"]
    assert found["cost"][0] == 7 and found["cost"][1].simple_value == 0.25

    def decoded(tag):
        png = np.frombuffer(found[tag][1].image.encoded_image_string, np.uint8)
        return cv2.imdecode(png, cv2.IMREAD_UNCHANGED)

    np.testing.assert_array_equal(decoded("pictures/1")[..., ::-1], rgb[1])
    np.testing.assert_array_equal(decoded("one")[..., [2, 1, 0, 3]], rgba)
    histogram = found["weights"][1].histo
    assert histogram.num == sum(histogram.bucket) == 1000
    assert histogram.min == numbers[:-2].min() and histogram.max == numbers[:-2].max()
    assert histogram.sum == pytest.approx(numbers[:-2].sum())
    assert list(histogram.bucket_limit) == sorted(histogram.bucket_limit)
    assert sum(found["constant"][1].histo.bucket) == 5

    graphs = [event.graph_def for event in events(folder) if event.graph_def]
    read = tf.compat.v1.GraphDef.FromString(graphs[0])
    assert [node.name for node in read.node] == [node.name for node in graph.as_graph_def().node]


def test_hyperparameters_are_encoded_as_the_plugin_reads_them(tmp_path):
    from google.protobuf import struct_pb2

    monitors = Monitors([TensorBoardMonitor()], tmp_path)
    config = {"learning_rate": 0.5, "jit": True, "model": "Small", "folder": tmp_path, "none": None}
    monitors.put_event("config", config, 0)
    monitors.close()
    ((_, value),) = values(tmp_path / "tensorboard")
    assert value.tag == "_hparams_/session_start_info"
    assert value.metadata.plugin_data.plugin_name == "hparams"
    content = value.metadata.plugin_data.content
    for name, message in {
        "learning_rate": struct_pb2.Value(number_value=0.5),
        "jit": struct_pb2.Value(bool_value=True),
        "model": struct_pb2.Value(string_value="Small"),
        "folder": struct_pb2.Value(string_value=str(tmp_path)),
    }.items():
        assert name.encode() in content and message.SerializeToString() in content
    assert b"none" not in content


def test_a_resumed_run_takes_back_what_came_after_its_checkpoint(tmp_path):
    folder = tmp_path / "tensorboard"
    first = Monitors([TensorBoardMonitor()], tmp_path)
    for step in range(1, 5):
        first.put_scalar("cost", float(step), step)
    state = json.loads(json.dumps(first.state_dict()))
    for attempt in range(2):  # each goes on from the checkpoint; the first of the two is killed
        for step in range(5, 8):
            first.put_scalar("cost", -1.0, step)
        first.flush()
        resumed = Monitors([TensorBoardMonitor()], tmp_path)
        resumed.load_state_dict(state)
        for step in range(5, 8 + attempt):
            resumed.put_scalar("cost", float(step), step)
        resumed.flush()
        first = resumed
    assert [(step, value.simple_value) for step, value in values(folder)] == [(s, s) for s in range(1, 9)]
    starts = [event.step for event in events(folder) if event.HasField("session_log")]
    assert starts == [5]


def test_a_clock_that_went_back_costs_no_file(tmp_path, monkeypatch):
    now, state = 1_764_000_000.0, None
    for step in range(1, 5):  # each start of the run an hour before the one it follows
        monkeypatch.setattr(time, "time", lambda at=now - 3600 * step: at)
        monitors = Monitors([TensorBoardMonitor()], tmp_path)
        if state is not None:
            monitors.load_state_dict(json.loads(json.dumps(state)))
        monitors.put_scalar("cost", float(step), step)
        state = monitors.state_dict()
        monitors.put_scalar("cost", -1.0, step + 1)  # and killed
        monitors.flush()
    found = [(step, value.simple_value) for step, value in values(tmp_path / "tensorboard")]
    assert found == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0), (5, -1.0)]


@pytest.mark.parametrize("resumed", [False, True])
def test_files_that_somebody_deleted_are_written_anew(tmp_path, caplog, resumed):
    monitors = Monitors([TensorBoardMonitor()], tmp_path)
    monitors.put_scalar("cost", 1.0, 1)
    monitors.flush()
    monitors.put_scalar("cost", 2.0, 2)
    state = monitors.state_dict()
    shutil.rmtree(tmp_path / "tensorboard")
    if resumed:
        monitors = Monitors([TensorBoardMonitor()], tmp_path)
        monitors.load_state_dict(json.loads(json.dumps(state)))
    monitors.put_scalar("cost", 3.0, 3)
    monitors.flush()
    monitors.close()
    found = [(step, value.simple_value) for step, value in values(tmp_path / "tensorboard")]
    assert found == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert "written anew" in caplog.text


def test_closing_and_going_on_keeps_all(tmp_path):
    monitors = Monitors([TensorBoardMonitor()], tmp_path)
    monitors.put_scalar("cost", 1.0, 1)
    monitors.close()
    state = monitors.state_dict()
    monitors.put_scalar("cost", 2.0, 2)
    monitors.close()
    assert [step for step, _ in values(tmp_path / "tensorboard")] == [1, 2]
    again = Monitors([TensorBoardMonitor()], tmp_path)
    again.load_state_dict(state)
    again.close()
    assert [step for step, _ in values(tmp_path / "tensorboard")] == [1]


def test_what_a_run_without_checkpoint_left_is_hidden(tmp_path):
    for _ in range(2):
        monitors = Monitors([TensorBoardMonitor()], tmp_path)
        monitors.put_scalar("cost", 1.0, 1)
        monitors.close()
    assert len(values(tmp_path / "tensorboard")) == 1
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2


def test_importing_the_monitors_does_not_import_tensorflow():
    code = "import sys, flowtrain.monitors; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=800)
