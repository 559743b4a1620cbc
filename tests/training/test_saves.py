"""Saves that fail: said, tried again, and never taken for done."""

import os
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf

from flowtrain.callbacks import Callback, MinSaver, ModelSaver
from flowtrain.model.checkpoint_io import CheckpointWriter, list_checkpoints, read_checkpoint
from flowtrain.monitors import Monitor
from flowtrain.training import Preempted, SimpleTrainer, train
from flowtrain.utils.errors import CheckpointError, FlowtrainError

from .helpers import config, same_weights


class Disk:
    """A disk that is full in some of the attempts to write a checkpoint, counted from 1."""

    def __init__(self, monkeypatch, full):
        self.full, self.attempts = full, 0
        monkeypatch.setattr("flowtrain.model.checkpoint_io.shutil.disk_usage", self._usage)

    def _usage(self, path):
        self.attempts += 1
        return shutil._ntuple_diskusage(10**12, 0, 10 if self.full(self.attempts) else 10**12)


class Score(Callback):
    def __init__(self, *values):
        self.values = values

    def trigger_epoch(self):
        self.trainer.monitors.put_scalar("score", self.values[self.epoch_num - 1], self.global_step)


def names(folder):
    return sorted(os.listdir(folder / "checkpoints")) if (folder / "checkpoints").exists() else []


def test_a_training_whose_every_save_fails_does_not_end_well(tmp_path, monkeypatch, caplog):
    Disk(monkeypatch, lambda attempt: True)
    with pytest.raises(CheckpointError, match=r"step-00000024: .*the disk of .*There is none.*Make room"):
        train(config(tmp_path, max_epoch=2))
    assert "CHECKPOINT NOT SAVED: step-00000012" in caplog.text and names(tmp_path) == []


def test_the_last_save_is_tried_again_at_the_end(tmp_path, monkeypatch):
    Disk(monkeypatch, lambda attempt: attempt in (2, 3))
    with pytest.raises(CheckpointError, match=r"step-00000024.*The newest one there is step-00000012"):
        train(config(tmp_path / "a", max_epoch=2))
    Disk(monkeypatch, lambda attempt: attempt == 2)
    trainer = train(config(tmp_path / "b", max_epoch=2))
    assert names(tmp_path / "b") == ["step-00000012", "step-00000024"] and trainer.global_step == 24


def test_a_best_that_could_not_be_saved_is_saved_later_with_its_weights(tmp_path, monkeypatch):
    class Weights(Callback):
        def trigger_epoch(self):
            if self.epoch_num == 2:
                self.then = self.trainer.get_weights()

    Disk(monkeypatch, lambda attempt: attempt == 3)  # 1: step 12, 2: best of epoch 1, 3: best of epoch 2
    weights = Weights()
    train(config(tmp_path, callbacks=[ModelSaver(), Score(3, 1, 2), MinSaver("score"), weights], max_epoch=3))
    best = read_checkpoint(tmp_path / "checkpoints" / "best-score")
    assert all(np.array_equal(best[name], value) for name, value in weights.then.items())


def test_sigterm_on_a_full_disk_does_not_say_saved(tmp_path, monkeypatch, caplog):
    class Terminate(Callback):
        def trigger_step(self):
            if self.global_step == 17:
                signal.raise_signal(signal.SIGTERM)

    Disk(monkeypatch, lambda attempt: attempt > 1)
    with pytest.raises(Preempted, match=r"step 17 could NOT be saved.*newest one there is step-00000012") as caught:
        train(config(tmp_path, callbacks=[ModelSaver(), Terminate()], max_epoch=3))
    assert caught.value.code == 143 and "saved at step 17" not in caplog.text and names(tmp_path) == ["step-00000012"]


@pytest.mark.parametrize("bad", [{1, 2}, tf.constant(1.0), object()])
@pytest.mark.parametrize("background", [False, True])
def test_a_state_that_cannot_be_packed_ends_the_run_at_once(tmp_path, bad, background):
    class Mine(Callback):
        def state_dict(self):
            return {"seen": bad}

    with pytest.raises(FlowtrainError, match=r"\['seen'\].*sorted\(x\).*in callback Mine") as caught:
        train(config(tmp_path, callbacks=[ModelSaver(background=background), Mine()], max_epoch=3))
    assert "MapData" not in str(caught.value) and "epoch 1, step 12" in str(caught.value) and names(tmp_path) == []


def test_so_does_the_state_of_a_monitor(tmp_path):
    class Mine(Monitor):
        def state_dict(self):
            return {"seen": {1}}

    with SimpleTrainer(config(tmp_path, monitors=[Mine()], max_epoch=5)) as trainer:
        with pytest.raises(CheckpointError, match=r"NOT SAVED: step-00000012: .*\['seen'\]"):
            trainer.train()
        assert trainer.global_step < 5 * 12


def test_a_reason_that_will_not_pass_ends_the_run(tmp_path):
    class Obstruct(Callback):
        def before_train(self):
            (self.trainer.log_dir / "checkpoints").write_text("a file where the folder should be")

    with pytest.raises(CheckpointError, match=r"NOT SAVED: step-00000012.*training stops here"):
        train(config(tmp_path, callbacks=[Obstruct(), ModelSaver()], max_epoch=5))


def test_a_log_folder_deleted_in_mid_run_is_made_again(tmp_path):
    class Delete(Callback):
        def trigger_epoch(self):
            if self.epoch_num == 1:
                shutil.rmtree(self.trainer.log_dir)

    trainer = train(config(tmp_path / "run", callbacks=[Delete(), ModelSaver()], max_epoch=2))
    again = train(config(tmp_path / "run", max_epoch=2), resume="auto")
    assert same_weights(trainer, again) and list_checkpoints(tmp_path / "run" / "checkpoints")


def test_a_writer_leaves_nothing_of_a_state_that_it_cannot_pack(tmp_path):
    writer = CheckpointWriter(tmp_path / "step-00000001")
    with pytest.raises(CheckpointError, match="cannot go into a checkpoint"):
        writer.write({"a": tf.zeros([2])}, {"b": object()}, {})
    assert os.listdir(tmp_path) == []
