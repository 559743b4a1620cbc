"""Stopping, checking numbers, resources, shells, commands, threads, signals."""

import logging
import math
import os
import signal
import sys
import threading
import types

import pytest

import flowtrain.callbacks.resources as resources
from flowtrain.callbacks import (
    Callback,
    CheckNumerics,
    EarlyStopping,
    GPUUtilizationTracker,
    GraphProfiler,
    HostMemoryTracker,
    InjectShell,
    PreemptionSaver,
    RunFunction,
    SendStat,
    StartProcOrThread,
)
from flowtrain.utils import FlowtrainError


class Log(Callback):
    def __init__(self, *values):
        self.values = values

    def trigger(self):
        self.trainer.monitors.put_scalar("stat", self.values[self.epoch_num - 1], self.global_step)


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    "mode,values,epochs",
    [
        ("min", [3, 2, 2, 2, 2], 4),
        ("min", [3, math.nan, math.nan, 1, 0], 3),
        ("max", [3, 2, 4, 4, 5], 5),
        ("max", [1, 2, 3, 4, 5], 5),
    ],
)
def test_training_stops_when_it_gets_no_better(make_trainer, order, mode, values, epochs):
    callbacks = [EarlyStopping("stat", mode, patience=2), Log(*values)][::order]
    assert make_trainer(*callbacks, max_epoch=5).run().epoch_num == epochs


def test_the_first_tensor_that_is_not_finite_is_named(make_trainer):
    tensors = {
        "label": lambda step: step,
        "conv1/output": lambda step: 1.0,
        "log/output": lambda step: [0.0, -math.inf if step >= 6 else 1.0],
        "cost": lambda step: math.nan if step >= 6 else 1.0,
    }
    trainer = make_trainer(CheckNumerics(every_k_steps=4), tensors=tensors)
    with pytest.raises(FlowtrainError, match="'log/output' is not finite at step 6"):
        trainer.run()
    assert trainer.global_step == 8


def test_the_culprit_is_named_when_the_trainer_fails_first(make_trainer, caplog):
    checker = CheckNumerics()
    trainer = make_trainer(checker, tensors={"out": lambda step: math.inf if step == 2 else 1.0})
    checker.before_train()
    for _ in range(3):
        trainer.run_step()
    checker.after_train()
    assert "'out' is not finite at step 2" in caplog.text


def test_a_variable_that_is_not_finite_is_named(make_trainer):
    spoil = RunFunction(lambda trainer: trainer.set_variable("weight", math.inf), run_step=True)
    with pytest.raises(FlowtrainError, match="variable 'weight' is not finite"):
        make_trainer(spoil, CheckNumerics(1), tensors={"out": lambda step: 1.0}).run()


def test_memory_is_logged(make_trainer):
    trainer = make_trainer(HostMemoryTracker()).run()
    assert trainer.monitors.latest("memory/process_mb") > 10
    assert len(trainer.history["memory/free_mb"]) == 3


def test_without_a_gpu_one_line_says_so(make_trainer, caplog, monkeypatch):
    monkeypatch.setattr(resources.shutil, "which", lambda name: None)
    with caplog.at_level(logging.INFO, "flowtrain"):
        trainer = make_trainer(GPUUtilizationTracker()).run()
    assert [record.getMessage() for record in caplog.records if "GPU" in record.getMessage()]
    assert trainer.history == {}


def test_with_gpus_the_mean_of_each_is_logged(make_trainer, monkeypatch):
    asked = threading.Semaphore(0)

    def utilization():
        asked.release()
        return [40.0, 60.0]

    monkeypatch.setattr(resources.shutil, "which", lambda name: name)
    monkeypatch.setattr(resources, "_gpu_utilization", utilization)
    callback = GPUUtilizationTracker(seconds=0.001)

    def wait(trainer):  # the thread has asked and kept what it got, the second time at the latest
        for _ in range(3):
            assert asked.acquire(timeout=800)

    trainer = make_trainer(callback, step=wait, steps_per_epoch=1, max_epoch=1).run()
    assert trainer.monitors.latest("gpu/0_percent") == 40.0
    assert trainer.monitors.latest("gpu/1_percent") == 60.0
    assert not [t for t in threading.enumerate() if t.name == "flowtrain-gpu-utilization"]


def test_a_profile_is_written_of_the_asked_steps(make_trainer, tmp_path):
    trainer = make_trainer(GraphProfiler(3, 4)).run()
    assert trainer.told == [2, 4]
    assert list((tmp_path / "tensorboard").rglob("*.xplane.pb"))


def test_a_profile_ends_with_the_run(make_trainer, tmp_path):
    make_trainer(GraphProfiler(10, 100)).run()
    assert list((tmp_path / "tensorboard").rglob("*.xplane.pb"))


def test_a_shell_opens_when_its_file_is_there(make_trainer, tmp_path, monkeypatch, caplog):
    opened = []
    monkeypatch.setattr("code.interact", lambda banner, local, exitmsg: opened.append(local["trainer"].epoch_num))
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(isatty=lambda: True))
    touch = RunFunction(lambda t: (tmp_path / "SHELL").touch() if t.epoch_num == 2 else None)
    make_trainer(touch, InjectShell()).run()
    assert opened == [2] and not (tmp_path / "SHELL").exists()
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(isatty=lambda: False))
    make_trainer(touch, InjectShell()).run()
    assert opened == [2] and "no terminal" in caplog.text


def test_a_command_gets_the_numbers(make_trainer, tmp_path, caplog):
    command = f"echo {{stat:.2f}} >> {tmp_path}/stats.txt"
    make_trainer(Log(1, 2, 3), SendStat(command, ["stat"])).run()
    assert (tmp_path / "stats.txt").read_text().split() == ["1.00", "2.00", "3.00"]
    assert not caplog.records
    make_trainer(Log(1, 2, 3), SendStat("echo broken >&2; exit 3 # {stat}", ["stat"])).run()
    assert "exit code 3: broken" in caplog.text
    make_trainer(SendStat("true {stat}", ["stat"])).run()
    assert "stat not logged yet" in caplog.text
    with pytest.raises(FlowtrainError, match=r"\{cost\}"):
        SendStat("echo {cost}", ["stat"])


def test_a_thread_lives_as_long_as_the_training(make_trainer):
    class Worker(threading.Thread):
        def __init__(self):
            super().__init__(name="flowtrain-test-worker")
            self.ended = threading.Event()

        def run(self):
            self.ended.wait(300)

        def stop(self):
            self.ended.set()

    worker, alive = Worker(), []
    make_trainer(StartProcOrThread(worker), RunFunction(lambda t: alive.append(worker.is_alive()))).run()
    assert alive == [True] * 3 and not worker.is_alive()
    with pytest.raises(FlowtrainError, match=r"start\(\)"):
        StartProcOrThread([worker, 3])


def test_a_signal_of_the_cluster_is_handed_to_the_trainer(make_trainer):
    before = signal.getsignal(signal.SIGUSR1)
    kill = RunFunction(lambda trainer: os.kill(os.getpid(), signal.SIGUSR1))
    trainer = make_trainer(PreemptionSaver(), kill).run()
    assert trainer.preempted == "got SIGUSR1"
    assert signal.getsignal(signal.SIGUSR1) is before
    with pytest.raises(FlowtrainError, match="SIGKILL"):
        PreemptionSaver([signal.SIGKILL])
