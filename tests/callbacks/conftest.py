"""A small trainer without a model, which keeps the callbacks' contract and writes down what they do."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from flowtrain.callbacks.base import uses_steps
from flowtrain.callbacks.check import check_callback
from flowtrain.dataflow import DataFromList
from flowtrain.model.average import WeightAverage
from flowtrain.model.store import VariableStore
from flowtrain.monitors.monitor import Monitors
from flowtrain.training.callback_list import CallbackList
from flowtrain.training.loop import Loop
from flowtrain.training.progress import Progress
from flowtrain.training.requests import Requests, Save
from flowtrain.utils.errors import ConfigError, TensorNameError


class FakeTrainer:
    """Runs hooks in order; a "step" adds one to the variable ``weight``; named tensors are functions of the step."""

    def __init__(
        self, callbacks, log_dir, steps_per_epoch=4, max_epoch=3, tensors=(), averages=None, step=None, workers=1
    ):
        self.callbacks, self.log_dir = list(callbacks), log_dir
        self.steps_per_epoch, self.max_epoch = steps_per_epoch, max_epoch
        self.epoch_num = self.global_step = self.local_step = 0
        self.tensors, self.step = dict(tensors), step
        self.averages = averages or (lambda step: {"cost": 1.0 / max(step, 1)})
        self.monitors = Monitors([], None)
        self.workers = workers
        self.is_chief, self.stop_reason, self.model = True, None, None
        self.config = SimpleNamespace(dataflow=DataFromList([[1.0], [2.0]], shuffle=False))
        self.variables = {
            "weight": tf.Variable(0.0),
            "learning_rate": tf.Variable(0.1),
            "optimizer/momentum/weight": tf.Variable(0.0),
            "global_step": tf.Variable(0, dtype=tf.int64),
        }
        store = VariableStore(0)
        store.add("weight", self.variables["weight"])
        specs = [tf.TensorSpec((None, 2), tf.float32, "x"), tf.TensorSpec((None,), tf.int64, "label")]
        self.graph = SimpleNamespace(
            input_specs=specs,
            store=store,
            average=None,
            keep_average=self.keep_average,
            objectives={"cost": SimpleNamespace(optimizer=SimpleNamespace(beta_1=0.9))},
            build_tower=SimpleNamespace(
                costs={"cost": SimpleNamespace(op=SimpleNamespace(name="cost"))},
                graph=SimpleNamespace(get_operations=list, as_graph_def=bytes),
            ),
        )
        self.saved, self.claims, self.in_step, self.told = [], {}, [], []
        self.asked, self.preempted = {}, None

    @property
    def history(self):
        return self.monitors.history

    def get_weights(self):
        return {"weight": self.get_variable("weight")}

    def variable_names(self):
        return list(self.variables)

    def get_variable(self, name):
        if name not in self.variables:
            raise TensorNameError(f"no variable {name}")
        return self.variables[name].numpy()

    def set_variable(self, name, value):
        self.variables[name].assign(value)

    def get_predictor(self, inputs, outputs):
        weight = self.variables["weight"]

        def predict(x, label):
            known = {
                "x": x,
                "label": label,
                "loss": tf.reduce_mean(x) + weight,
                "wrong": tf.cast(x[:, 0] > x[:, 1], tf.int32) ^ tf.cast(label, tf.int32),
                "picture": tf.reshape(tf.tile(x, [1, 128]), [-1, 16, 16, 1]),
                "shifted": tf.reshape(tf.tile(x, [1, 128]), [-1, 16, 16, 1]) + 0.1,
                "probability": tf.sigmoid(x[:, 0] - x[:, 1]),
            }
            return [known[name] for name in outputs]

        return predict

    def moving_averages(self):
        return self.averages(self.global_step)

    def image_names(self):
        return {"picture": "image_summary/picture"} if "image_summary/picture" in self.tensors else {}

    def histogram_names(self):
        return {}

    def keep_average(self, decay):
        self.graph.average = WeightAverage(self.graph.store, decay)
        return self.graph.average

    def add_to_step(self, function):
        self.in_step.append(function)

    def add_variables(self, variables):
        self.variables.update(variables)

    def save_checkpoint(self, name=None, keep=None, background=False):
        self.asked[name] = self.global_step

    def stop(self, reason, then=None):
        self.stop_reason = self.stop_reason or reason

    def preempt(self, reason):
        self.preempted = reason

    def claim_file(self, path, owner):
        path = self.log_dir / path
        if self.claims.setdefault(path, owner) is not owner:
            raise ConfigError(f"both write {path}")
        return path

    # ------------------------------------------------------------------ running

    def set_up(self):
        for callback in self.callbacks:
            check_callback(callback)
            callback.attach(self)
        self.tell("setup_graph")
        return self

    def run(self, until_epoch=None):
        """Run whole epochs, until one or the last."""
        self.tell("before_train")
        while self.epoch_num < (until_epoch or self.max_epoch) and self.stop_reason is None:
            self.epoch_num, self.local_step = self.epoch_num + 1, 0
            self.tell("before_epoch")
            while self.local_step < self.steps_per_epoch and self.stop_reason is None:
                self.run_step()
            if self.local_step < self.steps_per_epoch:
                break
            self.tell("after_epoch")
            self.tell("trigger_epoch")
        if self.stop_reason is not None or self.epoch_num == self.max_epoch:
            self.tell("after_train")
        return self

    def run_step(self):
        due, values = [], {}
        for callback in self.callbacks:
            if uses_steps(callback):
                step = callback.next_step()
                assert step > self.global_step, f"{callback} asks for a step that is done"
                if step <= self.global_step + 1:
                    due.append(callback)
        for callback in due:
            values[callback] = callback.before_run() or []
        self.global_step, self.local_step = self.global_step + 1, self.local_step + 1
        self.variables["weight"].assign_add(1.0)
        self.variables["global_step"].assign_add(1)
        if self.graph.average is not None:
            self.graph.average.update()
        now = {name: np.asarray(function(self.global_step)) for name, function in self.tensors.items()}
        for function in self.in_step:
            function(SimpleNamespace(tensors={name: tf.constant(value) for name, value in now.items()}))
        if self.step is not None:
            self.step(self)
        for callback in due:
            callback.after_run({name: now[name] for name in values[callback]})
        for callback in due:
            callback.trigger_step()
        if due:
            self.told.append(self.global_step)
        self.settle()

    def tell(self, hook):
        for callback in self.callbacks:
            getattr(callback, hook)()
        self.settle()

    def settle(self):
        asked, self.asked = self.asked, {}
        for name, step in asked.items():
            self.saved.append((name, step, float(self.get_variable("weight"))))

    # ------------------------------------------------------------------ checkpoints

    def state_dict(self):
        state = {
            "callbacks": [callback.state_dict() for callback in self.callbacks],
            "monitors": self.monitors.state_dict(),
            "variables": {name: variable.numpy().tolist() for name, variable in self.variables.items()},
            "counts": [self.epoch_num, self.global_step, self.local_step],
        }
        return json.loads(json.dumps(state))

    def load_state_dict(self, state):
        self.epoch_num, self.global_step, self.local_step = state["counts"]
        for name, value in state["variables"].items():
            self.set_variable(name, value)
        for callback, callback_state in zip(self.callbacks, state["callbacks"], strict=True):
            if callback_state:
                callback.load_state_dict(callback_state)
        self.monitors.load_state_dict(state["monitors"])
        return self


class LoopedTrainer(FakeTrainer):
    """The same under the trainer's own loop: rounds of hooks, interrupts, saves and SIGTERM are the real ones."""

    def __init__(self, callbacks, log_dir, **options):
        self._progress, self._requests = Progress(0), Requests()
        super().__init__(callbacks, log_dir, **options)
        self.callbacks = CallbackList(self.callbacks)
        self.strategy = tf.distribute.get_strategy()
        self.checkpoints = SimpleNamespace(check=lambda: None, finish=lambda: None, wait=lambda: None)
        self.finite_weights = SimpleNamespace(bad=list)
        self.step_variables = SimpleNamespace(first_bad_step=lambda: None, starved=list)
        self.graph.metrics = SimpleNamespace(reset=lambda: None)
        self.progress, self.feeding, self.state = self._progress, self, None
        names = ("start", "run_fetching", "throttle", "finish", "abandon")
        program = SimpleNamespace(run=self.start, **{name: getattr(self, name) for name in names})
        self.loop = Loop(self, program, self._requests, self.steps_per_epoch, None, True, log_dir)

    # what the loop sees of a run's state, its feeding and its program

    def check_trainable(self):
        pass

    def save(self, name, request):
        self.saved.append((name or "step", self.global_step, float(self.get_variable("weight"))))
        if name is None:
            self.state = self.state_dict()

    def next_block(self, step, check):
        return SimpleNamespace(rows=1), 0

    def consumed(self, count):
        pass

    def start(self, block, start, stop):
        self._compute()

    def run_fetching(self, block, row, names):
        self._compute()
        return None, {name: self.now[name] for name in names}

    def throttle(self):
        return 0.0

    def finish(self):
        pass

    def abandon(self):
        return 0

    def _compute(self):
        step = self.global_step + 1
        self.variables["weight"].assign_add(1.0)
        self.variables["global_step"].assign_add(1)
        if self.graph.average is not None:
            self.graph.average.update()
        self.now = {name: np.asarray(function(step)) for name, function in self.tensors.items()}
        for function in self.in_step:
            function(SimpleNamespace(tensors={name: tf.constant(value) for name, value in self.now.items()}))

    # what callbacks see

    epoch_num = property(lambda self: self._progress.epoch, lambda self, value: None)
    global_step = property(lambda self: self._progress.global_step, lambda self, value: None)
    local_step = property(lambda self: self._progress.local_step, lambda self, value: None)
    stop_reason = property(lambda self: self._requests.stop_reason, lambda self, value: None)

    def save_checkpoint(self, name=None, keep=None, background=False):
        self._requests.saves[name] = Save(keep, background)

    def stop(self, reason, then=None):
        self._requests.stop(reason, self.global_step, then)

    def preempt(self, reason):
        self._requests.leave(reason)

    # running

    def set_up(self):
        self.callbacks.attach(self)
        self.callbacks.call("setup_graph")
        return self

    def run(self, until_epoch=None):
        """As `Trainer.train`."""
        self._requests.stop_reason = None
        failure = None
        try:
            with self._requests:
                self.loop.run(until_epoch or self.max_epoch)
        except BaseException as error:
            failure = error
            raise
        finally:
            self.callbacks.call_after_train(failing=failure is not None)
            if failure is None:
                self.loop.settle()
        self._requests.raise_then()
        return self

    def state_dict(self):
        state = {
            "callbacks": self.callbacks.state_dict(),
            "monitors": self.monitors.state_dict(),
            "variables": {name: variable.numpy().tolist() for name, variable in self.variables.items()},
            "progress": self._progress.state_dict(),
        }
        return json.loads(json.dumps(state))

    def load_state_dict(self, state):
        self._progress.load_state_dict(state["progress"])
        for name, value in state["variables"].items():
            self.set_variable(name, value)
        self.callbacks.load_state_dict(state["callbacks"])
        self.monitors.load_state_dict(state["monitors"])
        return self


@pytest.fixture(scope="module")
def make_looped(tmp_path_factory):
    """A function that makes a LoopedTrainer, set up, in a folder of its own."""

    def make(*callbacks, **options):
        return LoopedTrainer(callbacks, tmp_path_factory.mktemp("run"), **options).set_up()

    return make


@pytest.fixture
def make_trainer(tmp_path):
    """A function that makes a FakeTrainer, set up."""

    def make(*callbacks, **options):
        return FakeTrainer(callbacks, tmp_path, **options).set_up()

    return make
