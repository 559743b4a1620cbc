"""How a run stands is read from its folder, whatever ended it."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from flowtrain.callbacks import Callback, EarlyStopping, RunFunction
from flowtrain.monitors import TimelineMonitor
from flowtrain.training import Preempted, SimpleTrainer, train
from flowtrain.utils.errors import FlowtrainError
from flowtrain.utils.run_status import is_locked, status_of

from .helpers import config


class Fails(Callback):
    def trigger_epoch(self):
        raise ValueError("no such colour")


def test_finished_and_going_on(tmp_path):
    trainer = train(config(tmp_path / "a", max_epoch=1))
    found = status_of(trainer.log_dir)
    assert (found["status"], found["note"]) == ("finished", None) and abs(found["time"] - time.time()) < 100
    seen = []
    train(
        config(tmp_path / "a", max_epoch=2, callbacks=[RunFunction(lambda t: seen.append(status_of(t.log_dir)))]),
        resume="auto",
    )
    assert [entry["status"] for entry in seen] == ["running"]


def test_stopped_early_says_why(tmp_path):
    stop = EarlyStopping("cost", mode="min", patience=1, min_delta=1e9)
    train(config(tmp_path / "a", max_epoch=9, callbacks=[stop]))
    found = status_of(tmp_path / "a")
    assert found["status"] == "finished" and "cost" in found["note"]


def test_failed(tmp_path):
    with pytest.raises(ValueError):
        train(config(tmp_path / "a", callbacks=[Fails()]))
    assert status_of(tmp_path / "a")["note"].startswith("ValueError: no such colour")
    assert status_of(tmp_path / "a")["status"] == "failed"
    with pytest.raises(FlowtrainError):
        train(config(tmp_path / "b", weights={"nothing/like/it": [1.0]}, callbacks=[object()]))
    assert status_of(tmp_path / "b")["status"] == "failed"


def test_interrupted_by_a_signal(tmp_path):
    with pytest.raises(Preempted):
        train(config(tmp_path / "a", callbacks=[RunFunction(lambda t: os.kill(os.getpid(), signal.SIGTERM))]))
    assert status_of(tmp_path / "a")["status"] == "interrupted"


def test_a_folder_that_a_living_process_has_locked_runs_and_a_dead_one_was_killed(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom flowtrain.training.log_folder import LogFolder\n"
        "folder = LogFolder(Path(sys.argv[1]), resume=False)\nprint('there', flush=True)\ntime.sleep(600)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "a")], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "there\n"
        assert status_of(tmp_path / "a")["status"] == "running" and is_locked(tmp_path / "a")
    finally:
        holder.kill()
        holder.wait(30)
        holder.stdout.close()
    assert status_of(tmp_path / "a")["status"] == "killed"
    assert status_of(tmp_path / "nothing")["status"] == "killed" and not (tmp_path / "nothing").exists()


def test_each_epoch_says_where_its_time_went(tmp_path):
    with SimpleTrainer(config(tmp_path / "a", max_epoch=2, monitors=[TimelineMonitor()])) as trainer:
        trainer.train()
    lines = [json.loads(line) for line in (tmp_path / "a" / "timeline.jsonl").read_text().splitlines()]
    epochs = [line for line in lines if "epoch" in line]
    assert [line["epoch"] for line in epochs] == [1, 2]
    for line in epochs:
        assert set(line["seconds"]) == {"steps", "data", "callbacks", "saving"}
        assert min(line["seconds"].values()) >= 0 and sum(line["seconds"].values()) > 0
    assert [line["step"] for line in lines if "epoch" not in line] == [12, 24]
    times = [line["time"] for line in lines]
    assert times == sorted(times)
