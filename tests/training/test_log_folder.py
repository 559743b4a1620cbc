import json
import shutil
import sys

import numpy as np
import pytest

import flowtrain.training.log_folder as log_folder
from flowtrain.callbacks import Callback, TensorSummaries
from flowtrain.model import add_image_summary
from flowtrain.monitors import Monitor
from flowtrain.training import SimpleTrainer, auto_set_dir, train
from flowtrain.utils.errors import CheckpointError, ConfigError

from .helpers import Classifier, Points, config, same_weights


@pytest.fixture
def script(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "colours.py")])
    monkeypatch.setattr(log_folder, "_chosen", None)
    return tmp_path


def test_each_run_gets_a_folder_of_its_own(script):
    first, second = (train(config(None, max_epoch=1)).log_dir for _ in range(2))
    assert (str(first), str(second)) == ("train_log/colours", "train_log/colours-2")
    resumed = train(config(None, max_epoch=2), resume="auto")
    assert resumed.log_dir == second and resumed.global_step == 24
    assert str(train(config(None, max_epoch=1)).log_dir) == "train_log/colours-3"


def test_resume_without_any_run_starts_one(script):
    assert str(train(config(None, max_epoch=1), resume="auto").log_dir) == "train_log/colours"


def test_auto_set_dir_chooses_the_folder_of_the_next_run(script):
    chosen = auto_set_dir("mine")
    assert str(chosen) == "train_log/mine" and chosen.is_dir()
    assert train(config(None, max_epoch=1)).log_dir == chosen
    assert train(config(None, max_epoch=1)).log_dir != chosen
    assert train(config(None, max_epoch=2), resume="auto").log_dir == chosen
    assert auto_set_dir("mine", resume=True) == chosen
    assert str(auto_set_dir("mine")) == "train_log/mine-2"
    assert str(auto_set_dir("other", resume=True)) == "train_log/other"


def test_what_a_folder_says_about_its_run(tmp_path):
    train(config(tmp_path, max_epoch=1))
    train(config(tmp_path, max_epoch=2, steps_per_epoch=12), resume="auto")
    first, second = (json.loads((tmp_path / name).read_text()) for name in ("config.json", "config-2.json"))
    assert (first["max_epoch"], second["max_epoch"]) == (1, 2)
    assert first["model"] == "tests.training.helpers.Classifier"
    about = json.loads((tmp_path / "versions.json").read_text())
    assert about["packages"]["tensorflow"].startswith("2.21") and about["python"]
    assert "resumed from" in (tmp_path / "log.txt").read_text()
    assert not (tmp_path / "versions-2.json").exists()


def test_going_on_from_a_checkpoint_elsewhere(tmp_path):
    train(config(tmp_path / "a", max_epoch=2))
    other = train(config(tmp_path / "b", max_epoch=3), resume=tmp_path / "a" / "checkpoints" / "step-00000012")
    assert same_weights(other, train(config(tmp_path / "c", max_epoch=3)))
    with pytest.raises(CheckpointError, match="step-00000012"):
        train(config(tmp_path / "d"), resume=tmp_path / "a" / "checkpoints" / "step-0000012")
    with pytest.raises(ConfigError, match="resume"):
        train(config(tmp_path / "e"), resume=7)


def test_epochs_may_be_counted_from_another_number(tmp_path):
    trainer = train(config(tmp_path, starting_epoch=5, max_epoch=6))
    assert (trainer.epoch_num, trainer.global_step) == (6, 24)


def test_pictures_of_the_model_reach_the_monitors(tmp_path):
    class Pictures(Classifier):
        def build_graph(self, x, side):
            add_image_summary("points", x[:, None, :, None])
            return super().build_graph(x, side)

    class Album(Monitor):
        images = []

        def put_image(self, name, image, step):
            self.images.append((name, image.shape, step))

    train(config(tmp_path, model=Pictures(), callbacks=[TensorSummaries()], monitors=[Album()]))
    assert Album.images == [("points", (3, 1, 6, 1), 12), ("points", (3, 1, 6, 1), 24)]


def test_fetching_does_not_change_the_training(tmp_path):
    plain = train(config(tmp_path / "a"))
    fetching = train(config(tmp_path / "b", callbacks=[TensorSummaries(every_k_steps=2)]))
    assert same_weights(plain, fetching)


def test_a_monitor_that_fails_does_not_stop_training(tmp_path, caplog):
    class Broken(Monitor):
        def put_scalar(self, name, value, step):
            raise OSError("no network")

    trainer = train(config(tmp_path, monitors=[Broken()]))
    assert trainer.global_step == 24 and caplog.text.count("no network") == 1


def test_a_log_folder_that_is_deleted_in_mid_run(tmp_path, caplog):
    class Delete(Callback):
        def trigger_epoch(self):
            if self.epoch_num == 2:
                shutil.rmtree(self.trainer.log_dir)

    whole = train(config(tmp_path / "whole", callbacks=[], max_epoch=4))
    trainer = train(config(tmp_path / "run", callbacks=[Delete()], max_epoch=4))
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()
    assert "works again" in (tmp_path / "run/log.txt").read_text() and same_weights(whole, trainer)
    assert "written anew" in caplog.text


def test_starts_with_one_config_leave_one_description(tmp_path):
    for epochs in (1, 2, 3, 3):
        with SimpleTrainer(config(tmp_path, max_epoch=3), resume="auto") as trainer:
            trainer.train(epochs)
    written = sorted(path.name for path in tmp_path.glob("*.json"))
    assert [name for name in written if name.startswith("config")] == ["config.json"]


def test_trained_weights_are_those_that_predict(tmp_path):
    trainer = train(config(tmp_path, max_epoch=8))
    x, side = Points(1, rows=512).get(0, epoch=99)
    (logits,) = trainer.get_predictor(["x"], ["logits/output"])(x)
    assert np.mean(logits.argmax(axis=1) == side) > 0.8


def test_a_working_directory_that_was_deleted(tmp_path, monkeypatch):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert train(config(tmp_path / "run", max_epoch=1)).global_step == 12
    with pytest.raises(ConfigError, match=r"the working directory was deleted.*Give one: log_dir="):
        train(config(None, max_epoch=1))
