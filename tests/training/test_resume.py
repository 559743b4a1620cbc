import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from flowtrain.callbacks import Callback, ModelSaver
from flowtrain.dataflow import DataFlow
from flowtrain.layers import FullyConnected
from flowtrain.model.checkpoint_io import CheckpointWriter, list_checkpoints, read_checkpoint, read_manifest, read_state
from flowtrain.monitors import read_jsonl
from flowtrain.training import Preempted, SimpleTrainer, train
from flowtrain.utils.errors import CheckpointError, ConfigError, TrainingError

from .helpers import Classifier, Count, Die, Points, config, same_weights


class SaveAt(Callback):
    def __init__(self, *steps):
        self.steps = steps

    def next_step(self):
        return min((s for s in self.steps if s > self.global_step), default=float("inf"))

    def trigger_step(self):
        if self.global_step in self.steps:
            self.trainer.save_checkpoint()


def callbacks(*more):
    return [SaveAt(7, 24, 31), Count(), *more]


@pytest.mark.parametrize("died", [3, 7, 8, 24, 29, 36])
def test_a_run_that_died_goes_on_to_the_same_end(tmp_path, died):
    options = {"max_epoch": 3, "dataflow": Points(12)}
    whole = train(config(tmp_path / "whole", callbacks=callbacks(), **options))
    with pytest.raises(RuntimeError):
        train(config(tmp_path / "died", callbacks=callbacks(Die(died)), **options))
    again = train(config(tmp_path / "died", callbacks=callbacks(), **options), resume="auto")
    assert same_weights(whole, again)
    assert whole.history == again.history
    assert read_jsonl(tmp_path / "died") == whole.history
    for name in whole.variable_names():
        assert np.array_equal(whole.get_variable(name), again.get_variable(name)), name


def test_epochs_of_the_trainer_that_are_not_those_of_the_data(tmp_path):
    options = {"dataflow": Points(7), "steps_per_epoch": 5}
    whole = train(config(tmp_path / "a", max_epoch=5, **options))
    train(config(tmp_path / "b", max_epoch=2, **options))
    assert same_weights(whole, train(config(tmp_path / "b", max_epoch=5, **options), resume="auto"))


def test_a_flow_of_ones_own_goes_on_too(tmp_path):
    class Walk(DataFlow):
        def __iter__(self):
            for i in range(9):
                yield Points().get(i)

    def options():
        return {"dataflow": Walk(), "steps_per_epoch": 4}

    whole = train(config(tmp_path / "a", max_epoch=5, **options()))
    train(config(tmp_path / "b", max_epoch=3, **options()))
    assert same_weights(whole, train(config(tmp_path / "b", max_epoch=5, **options()), resume="auto"))


def test_a_finished_run_has_nothing_left_to_do(tmp_path):
    first = train(config(tmp_path))
    again = train(config(tmp_path), resume="auto")
    assert again.global_step == first.global_step and again.history == first.history


def test_a_folder_with_a_run_is_refused_unless_resumed(tmp_path):
    train(config(tmp_path))
    with pytest.raises(ConfigError, match='resume="auto"'):
        train(config(tmp_path))


def test_a_folder_that_a_living_run_uses_is_refused(tmp_path):
    with SimpleTrainer(config(tmp_path)), pytest.raises(TrainingError, match=r"of this process.*\.close\(\)"):
        train(config(tmp_path), resume="auto")
    train(config(tmp_path), resume="auto")


def test_a_folder_that_another_process_uses_is_refused(tmp_path):
    held = (
        "import sys; from pathlib import Path; from flowtrain.training.log_folder import LogFolder\n"
        f"folder = LogFolder(Path({str(tmp_path)!r}), resume=False); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", held]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(TrainingError, match=f"in use by a run that lives: process {process.pid}"):
            train(config(tmp_path), resume="auto")
        process.stdin.close()
    train(config(tmp_path), resume="auto")


@contextlib.contextmanager
def not_as_root():
    """Root may write everywhere: be nobody for a while."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("run", ["new", "."])
def test_a_read_only_folder_is_refused(run):
    with tempfile.TemporaryDirectory() as folder:  # nobody may not even look into tmp_path
        os.chmod(folder, 0o555)
        with not_as_root(), pytest.raises(ConfigError, match=r"cannot be written.*Permission.*log_dir="):
            train(config(Path(folder) / run))
        os.chmod(folder, 0o755)
        assert not os.listdir(folder)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        train(config(tmp_path / "file" / "run"))


def write_again(path, state):
    """Give a checkpoint another state, and checksums that fit."""
    writer = CheckpointWriter(path)
    writer.write(read_checkpoint(path), state, {})
    writer.commit()


def test_damaged_checkpoints_are_reported_and_passed_over(tmp_path, caplog):
    whole = train(config(tmp_path / "whole", max_epoch=4))
    for damage in ("truncate", "flip", "manifest", "manifest flip", "state", "missing", "part"):
        folder = tmp_path / damage
        shutil.copytree(tmp_path / "whole", folder)
        newest = list_checkpoints(folder / "checkpoints")[0]
        data = newest / "variables.data-00000-of-00001"
        if damage == "truncate":
            os.truncate(data, 100)
        elif damage == "flip":
            content = bytearray(data.read_bytes())
            content[200] ^= 1
            data.write_bytes(content)
        elif damage == "manifest":
            os.truncate(newest / "manifest.json", 50)
        elif damage == "manifest flip":
            content = (newest / "manifest.json").read_bytes()
            (newest / "manifest.json").write_bytes(content.replace(b'"files"', b'"fimes"'))
        elif damage == "part":  # whole by every checksum, but not the state of a run
            state = read_state(newest)
            del state["monitors"]
            write_again(newest, state)
        elif damage == "state":
            (newest / "state.msgpack").write_bytes(b"\x00" * (newest / "state.msgpack").stat().st_size)
        else:
            data.unlink()
        caplog.clear()
        again = train(config(folder, max_epoch=4), resume="auto")
        assert "step-00000048 is damaged" in caplog.text and "step-00000036: epoch 3, step 36" in caplog.text
        assert same_weights(whole, again) and whole.history == again.history


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("monitors"), "the state lacks 'monitors'"),
        (lambda state: state["monitors"].pop("history"), r"\['monitors'\] lacks 'history'"),
        (lambda state: state["progress"].update(epoch="1"), r"\['epoch'\] is '1', not a whole number"),
        (lambda state: state["progress"].update(epochs=1), "'epochs', which has no meaning"),
        (lambda state: state["random"].update(python=None), r"\['python'\] is None"),
        (lambda state: state.update(callbacks=[]), r"\['callbacks'\] is a list of 0"),
    ],
)
def test_a_state_that_is_not_that_of_a_run_is_named(tmp_path, change, message):
    train(config(tmp_path / "first", max_epoch=1))
    (path,) = list_checkpoints(tmp_path / "first" / "checkpoints")
    state = read_state(path)
    change(state)
    write_again(path, state)
    with pytest.raises(CheckpointError, match=f"step-00000012 does not hold the state of a run.*{message}"):
        train(config(tmp_path / "second"), resume=path)


def test_a_run_of_an_earlier_version_goes_on(tmp_path):
    """Its manifests have no checksum of their own."""
    whole = train(config(tmp_path / "whole", max_epoch=3))
    train(config(tmp_path / "run", max_epoch=2))
    for path in list_checkpoints(tmp_path / "run" / "checkpoints"):
        (path / "manifest.json").write_text(json.dumps(read_manifest(path), indent=1))
    again = train(config(tmp_path / "run", max_epoch=3), resume="auto")
    assert same_weights(whole, again) and whole.history == again.history


def test_when_all_are_damaged_nothing_is_started_anew(tmp_path):
    train(config(tmp_path, max_epoch=1))
    for path in list_checkpoints(tmp_path / "checkpoints"):
        (path / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match=r"all 1 checkpoints .* are damaged"):
        train(config(tmp_path), resume="auto")


def test_what_a_killed_save_left_is_cleared_away(tmp_path):
    train(config(tmp_path, max_epoch=1))
    left = tmp_path / "checkpoints" / ".unfinished-step-00000024-1"
    left.mkdir()
    (left / "variables.index").write_bytes(b"half")
    train(config(tmp_path), resume="auto")
    assert not left.exists()


def test_a_checkpoint_of_another_model_lists_the_differences(tmp_path):
    class Other(Classifier):
        def build_graph(self, x, side):
            extra = FullyConnected("extra", x, 3)
            return super().build_graph(x, side) + tf.reduce_mean(extra)

    class Wider(Classifier):
        def inputs(self):
            return [tf.TensorSpec((None, 9), tf.float32, "x"), tf.TensorSpec((None,), tf.int32, "side")]

    train(config(tmp_path))
    with pytest.raises(CheckpointError, match=r"missing: extra/bias, extra/kernel"):
        train(config(tmp_path, model=Other()), resume="auto")
    with pytest.raises(CheckpointError, match=r"other shape: hidden/kernel \(6, 16\) instead of \(9, 16\)"):
        train(config(tmp_path, model=Wider()), resume="auto")
    train(config(tmp_path / "other", model=Other()))
    with pytest.raises(CheckpointError, match="unexpected: extra/bias, extra/kernel"):
        train(config(tmp_path / "other"), resume="auto")


def test_a_save_that_fails_shouts_and_training_goes_on(tmp_path, caplog, monkeypatch):
    import flowtrain.model.checkpoint_io as io

    full = shutil.disk_usage("/")._replace(free=10)
    steps = []

    def usage(path):
        steps.append(path)
        return full if len(steps) == 2 else shutil._ntuple_diskusage(10**12, 0, 10**12)

    monkeypatch.setattr(io.shutil, "disk_usage", usage)
    trainer = train(config(tmp_path, max_epoch=3))
    assert "CHECKPOINT NOT SAVED: step-00000024" in caplog.text
    assert trainer.global_step == 36 and trainer._checkpoints.failures == 1
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000012", "step-00000036"]


def test_old_checkpoints_are_deleted_and_named_ones_stay(tmp_path):
    class Best(Callback):
        def trigger_epoch(self):
            if self.epoch_num <= 2:
                self.trainer.save_checkpoint(name="best")

    train(config(tmp_path, callbacks=[ModelSaver(keep=2), Best()], max_epoch=4))
    folder = tmp_path / "checkpoints"
    assert sorted(p.name for p in folder.iterdir()) == ["best", "step-00000036", "step-00000048"]
    assert read_manifest(folder / "best")["global_step"] == 24


def test_a_checkpoint_whose_name_is_a_path_or_a_step_is_refused(tmp_path):
    class Save(Callback):
        def trigger_epoch(self):
            for name in ["../x", "a/b", "/x", "", "..", ".x", "x\n", "step-00000012", 3]:
                with pytest.raises(ConfigError, match=r"save_checkpoint: name=.* is not a plain file name"):
                    self.trainer.save_checkpoint(name=name)
            self.trainer.save_checkpoint(name="before decay_2.5")

    train(config(tmp_path / "run", callbacks=[Save()], max_epoch=1))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert "before decay_2.5" in [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()]


def test_a_background_save_holds_the_values_of_its_moment(tmp_path):
    class Keep(Callback):
        def __init__(self):
            self.weights = {}

        def trigger_epoch(self):
            self.weights[self.global_step] = self.trainer.get_weights()

    keep = Keep()
    train(config(tmp_path, callbacks=[ModelSaver(background=True), keep], max_epoch=3))
    for path in list_checkpoints(tmp_path / "checkpoints"):
        values = read_checkpoint(path)
        for name, value in keep.weights[int(path.name[5:])].items():
            assert np.array_equal(values[name], value)


def test_plain_tensorflow_reads_the_variables(tmp_path):
    trainer = train(config(tmp_path))
    reader = tf.train.load_checkpoint(str(list_checkpoints(tmp_path / "checkpoints")[0] / "variables"))
    assert np.array_equal(reader.get_tensor("hidden/kernel"), trainer.get_weights()["hidden/kernel"])
    manifest = json.loads((list_checkpoints(tmp_path / "checkpoints")[0] / "manifest.json").read_text())
    assert manifest["variables"]["hidden/kernel"] == {"shape": [6, 16], "dtype": "float32"}


def test_sigterm_saves_and_leaves(tmp_path):
    class Terminate(Callback):
        def trigger_step(self):
            if self.global_step == 17:
                signal.raise_signal(signal.SIGTERM)

        def next_step(self):
            return 17

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Preempted, match="SIGTERM: saved at step 17") as caught:
        train(config(tmp_path / "a", callbacks=[ModelSaver(), Terminate()], max_epoch=3))
    assert caught.value.code == 143 and signal.getsignal(signal.SIGTERM) is before
    again = train(config(tmp_path / "a", max_epoch=3), resume="auto")
    whole = train(config(tmp_path / "b", max_epoch=3))
    assert same_weights(whole, again) and whole.history == again.history


def test_ctrl_c_saves_nothing_half_and_leaves_the_folder(tmp_path):
    class Interrupt(Callback):
        def trigger_step(self):
            if self.global_step == 17:
                self.trainer.save_checkpoint()
                raise KeyboardInterrupt

        def after_train(self):
            self.trainer.save_checkpoint()

    with pytest.raises(KeyboardInterrupt):
        train(config(tmp_path, callbacks=[ModelSaver(), Interrupt()], max_epoch=3))
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000012"]
    train(config(tmp_path, max_epoch=3), resume="auto")


@pytest.mark.parametrize(("every", "method"), [(1, "run_fetching"), (100, "start")])
def test_ctrl_c_within_a_step_is_raised_after_it(tmp_path, monkeypatch, every, method):
    before, expected = signal.getsignal(signal.SIGINT), Count(every)
    whole = train(config(tmp_path / "a", callbacks=[expected]))
    count = Count(every)
    with SimpleTrainer(config(tmp_path / "b", callbacks=[count], steps_per_call=1)) as trainer:
        calls, step = [], getattr(trainer._loop._program, method)

        def interrupted(*arguments):
            made = step(*arguments)
            calls.append(arguments)
            if len(calls) == 5:
                signal.raise_signal(signal.SIGINT)
            return made

        monkeypatch.setattr(trainer._loop._program, method, interrupted)
        with pytest.raises(KeyboardInterrupt):
            trainer.train()
        assert trainer.global_step == 5 == trainer.get_variable("global_step")
        trainer.train()
    assert same_weights(whole, trainer) and whole.history == trainer.history
    assert count.state_dict() == expected.state_dict()
    assert signal.getsignal(signal.SIGINT) is before


class Held(Points):
    """Its third batch waits to be let through."""

    def __init__(self):
        super().__init__()
        self.asked, self.gate = threading.Event(), threading.Event()

    def get(self, index, epoch=0):
        if index == 2:
            self.asked.set()
            self.gate.wait(60)
        return super().get(index, epoch)


def test_a_datapoint_of_an_earlier_train_is_waited_for(tmp_path, monkeypatch):
    flow = Held()

    class Interrupt(Callback):
        def trigger_step(self):
            if self.global_step == 1:
                assert flow.asked.wait(60)
                raise KeyboardInterrupt

    whole = train(config(tmp_path / "a"))
    with SimpleTrainer(config(tmp_path / "b", dataflow=flow, callbacks=[Interrupt()])) as trainer:
        with pytest.raises(KeyboardInterrupt):
            trainer.train()
        with monkeypatch.context() as patch, pytest.raises(TrainingError, match="busy with a datapoint of an earlier"):
            patch.setattr(trainer._state.feeding, "_limit", 0.01)
            trainer.train()
        flow.gate.set()
        trainer.train()
    assert same_weights(whole, trainer)


def test_initial_weights(tmp_path):
    first = train(config(tmp_path / "a"))
    second = SimpleTrainer(config(tmp_path / "b", weights=tmp_path / "a"))
    second.close()
    assert same_weights(first, second) and second.global_step == 0
    with pytest.raises(CheckpointError, match=r"hidden/bias \(2,\) instead of \(16,\)"):
        SimpleTrainer(config(tmp_path / "c", weights={"hidden/bias": np.zeros(2)}))
    with pytest.raises(CheckpointError, match="no variable"):
        SimpleTrainer(config(tmp_path / "d", weights={"nothing": np.zeros(2)}))
    with pytest.raises(CheckpointError, match="there is no"):
        SimpleTrainer(config(tmp_path / "e", weights=tmp_path / "aa"))


@pytest.mark.parametrize("left", [0, 8, 100])
def test_a_shortened_data_file_is_named(tmp_path, left):
    writer = CheckpointWriter(tmp_path / "step-00000001")
    writer.write({"large": tf.zeros([1000]), "small": tf.zeros([2])}, {}, {})
    writer.commit()
    (data,) = writer.path.glob("variables.data-*")
    os.truncate(data, left)
    with pytest.raises(CheckpointError, match=rf"cannot read .*{data.name}"):
        read_checkpoint(writer.path / "variables")
