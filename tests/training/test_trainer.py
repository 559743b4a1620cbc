import logging
import math
import re

import numpy as np
import pytest
import tensorflow as tf

from flowtrain.callbacks import (
    EMA,
    Callback,
    EarlyStopping,
    InferenceRunner,
    ModelSaver,
    ProcessTensors,
    ScalarStats,
    StopTraining,
)
from flowtrain.dataflow import DataFlow
from flowtrain.layers import Embedding, FullyConnected
from flowtrain.model import ModelDesc, get_variable
from flowtrain.monitors import read_jsonl
from flowtrain.training import NoOpTrainer, SimpleTrainer, TrainConfig, Trainer, train
from flowtrain.utils.errors import ConfigError, DataFlowError, ModelError, TensorNameError, TrainingError

from .helpers import Classifier, Count, PlainClassifier, Points, close_weights, config, same_weights


class Recorder(Callback):
    def __init__(self, label, log):
        self.label, self.log = label, log

    @property
    def name(self):
        return f"Recorder {self.label}"

    def _note(self, hook):
        self.log.append((hook, self.label, self.global_step))

    def setup_graph(self):
        self._note("setup_graph")

    def before_train(self):
        self._note("before_train")

    def before_epoch(self):
        self._note("before_epoch")

    def before_run(self):
        self._note("before_run")

    def after_run(self, values):
        assert values == {}
        self._note("after_run")

    def trigger_step(self):
        self._note("trigger_step")

    def after_epoch(self):
        self._note("after_epoch")

    def trigger_epoch(self):
        self._note("trigger_epoch")
        super().trigger_epoch()

    def trigger(self):
        self._note("trigger")

    def after_train(self):
        self._note("after_train")


def test_a_run_trains_and_shows_what_it_did(tmp_path):
    trainer = train(config(tmp_path, max_epoch=6))
    assert (trainer.epoch_num, trainer.global_step, trainer.log_dir) == (6, 72, tmp_path)
    assert [step for step, _ in trainer.history["cost"]] == [12, 24, 36, 48, 60, 72]
    assert trainer.history["cost"][-1][1] < 0.7 * trainer.history["cost"][0][1]
    assert trainer.history["learning_rate"][0] == (12, pytest.approx(0.01))
    assert trainer.get_weights()["hidden/kernel"].shape == (6, 16)
    (logits,) = trainer.get_predictor(["x"], ["logits/output"])(np.zeros((3, 6), np.float32))
    assert logits.shape == (3, 2)
    with pytest.raises(TensorNameError, match="logits/output"):
        trainer.get_predictor(["x"], ["logit/output"])
    assert {"config.json", "versions.json", "log.txt", "metrics.jsonl"} <= {p.name for p in tmp_path.iterdir()}


def test_hooks_run_in_the_stated_order(tmp_path):
    log = []
    callbacks = [Recorder("a", log), Recorder("b", log)]
    train(config(tmp_path, callbacks=callbacks, default_callbacks=[], dataflow=Points(2), max_epoch=2))
    step = ["before_run", "after_run", "trigger_step"]
    expected = ["setup_graph", "before_train"]
    for _ in range(2):
        expected += ["before_epoch", *step, *step, "after_epoch"]
    names = [hook for hook, label, _ in log if label == "a"]
    inner = ["before_epoch", *step, *step, "after_epoch", "trigger_epoch", "trigger"]
    assert names == ["setup_graph", "before_train", *inner, *inner, "after_train"]
    without_trigger = [(hook, label) for hook, label, _ in log if hook not in ("trigger", "trigger_epoch")]
    assert without_trigger[0::2] == [(hook, "a") for hook, _ in without_trigger[0::2]]
    assert without_trigger[1::2] == [(hook, "b") for hook, _ in without_trigger[0::2]]
    assert [g for hook, label, g in log if (hook, label) == ("trigger_step", "a")] == [1, 2, 3, 4]


def test_the_default_length_of_an_epoch_is_that_of_the_flow_and_data_goes_on(tmp_path):
    class Seen(Callback):
        def __init__(self):
            self.values = []

        def before_run(self):
            return ["x"]

        def after_run(self, values):
            self.values.append(values["x"])

    seen = Seen()
    trainer = train(config(tmp_path, callbacks=[seen], dataflow=Points(4), steps_per_epoch=3, max_epoch=3))
    flow = Points(4)
    expected = [flow.get(i, 0)[0] for i in range(4)] + [flow.get(i, 1)[0] for i in range(4)] + [flow.get(0, 2)[0]]
    assert trainer.global_step == 9
    assert all(np.array_equal(a, b) for a, b in zip(seen.values, expected, strict=True))


def test_fused_steps_compute_the_same_bits(tmp_path):
    fused = train(config(tmp_path / "fused", callbacks=[Count()]))
    single = train(config(tmp_path / "single", callbacks=[Count()], steps_per_call=1))
    threes = train(config(tmp_path / "threes", callbacks=[Count()], steps_per_call=3))
    for other in (single, threes):
        assert same_weights(fused, other)
        assert fused.history == other.history


def test_a_tensor_is_fetched_at_the_asked_steps_alone(tmp_path):
    count = Count(every=5)
    trainer = train(config(tmp_path, callbacks=[count]))
    assert count.steps == 24 // 5
    fetching = [key for key in trainer._loop._program._functions if key[0]]
    assert len(fetching) == 1


def test_a_name_that_is_no_tensor_names_the_callback(tmp_path):
    class Wrong(Callback):
        def before_run(self):
            return ["hiden/output"]

    with pytest.raises(TensorNameError, match="hidden/output"):
        train(config(tmp_path, callbacks=[Wrong()]))


def test_interactive_training_goes_on_where_it_was(tmp_path):
    with SimpleTrainer(config(tmp_path / "a", max_epoch=4)) as trainer:
        trainer.train(max_epoch=2)
        assert trainer.epoch_num == 2
        trainer.train(max_epoch=3)
        trainer.train()
    assert same_weights(trainer, train(config(tmp_path / "b", max_epoch=4)))


@pytest.mark.parametrize("hook", ["before_train", "before_epoch", "before_run", "trigger_step", "trigger_epoch"])
def test_stop_training_may_be_raised_in_any_hook(tmp_path, hook):
    class Stop(Callback):
        pass

    def stop(self):
        raise StopTraining("enough")

    setattr(Stop, hook, stop)
    log = []
    trainer = train(config(tmp_path, callbacks=[Stop(), Recorder("a", log)]))
    assert trainer.global_step == {"before_run": 1, "trigger_step": 1, "trigger_epoch": 12}.get(hook, 0)
    assert trainer.stop_reason == "enough" and log[-1][0] == "after_train"
    assert (hook, "a") in [(name, label) for name, label, _ in log]


def test_stopping_ends_regularly(tmp_path):
    class StopAt(Callback):
        def trigger_step(self):
            if self.global_step == 5:
                self.trainer.stop("that is enough")

    log = []
    trainer = train(config(tmp_path, callbacks=[StopAt(), Recorder("a", log)]))
    assert trainer.global_step == 5
    assert log[-1][0] == "after_train"
    assert "trigger_epoch" not in [hook for hook, *_ in log]


def test_an_error_in_a_callback_is_named_and_all_after_train_run(tmp_path):
    class Broken(Callback):
        def trigger_epoch(self):
            raise KeyError("something")

        def after_train(self):
            raise ValueError("again")

    log = []
    with pytest.raises(KeyError, match="callback Broken, hook trigger_epoch, epoch 1, step 12"):
        train(config(tmp_path, callbacks=[Recorder("a", log), Broken(), Recorder("b", log)]))
    assert [(hook, label) for hook, label, _ in log[-2:]] == [("after_train", "a"), ("after_train", "b")]


@pytest.mark.parametrize(
    ("flow", "options", "message"),
    [
        (lambda: Points(0), {}, "empty"),
        (lambda: Endless(), {}, "steps_per_epoch"),
        (lambda: Short(), {}, "ended early: its length is 5, it gave 3"),
        (lambda: Once(), {"steps_per_epoch": 9}, "empty|none"),
        (lambda: Points(3, rows=7), {"global_batch": 8}, "global_batch is 8"),
    ],
)
def test_a_flow_that_cannot_feed_the_training(tmp_path, flow, options, message):
    with pytest.raises((ConfigError, DataFlowError), match=message):
        train(config(tmp_path, dataflow=flow(), **options))


class Endless(DataFlow):
    def __iter__(self):
        while True:
            yield Points().get(0)


class Short(DataFlow):
    def __len__(self):
        return 5

    def __iter__(self):
        for i in range(3):
            yield Points().get(i)


class Once(DataFlow):
    def __init__(self):
        self.left = iter([Points().get(0), Points().get(1)])

    def __iter__(self):
        yield from self.left


class Made(DataFlow):
    def __init__(self, datapoint):
        self.datapoint = datapoint

    def __len__(self):
        return 3

    def get(self, index, epoch=0):
        return self.datapoint


X, SIDE = np.zeros((4, 6), np.float32), np.zeros(4, np.int32)


@pytest.mark.parametrize(
    ("datapoint", "message"),
    [
        ([X, SIDE, SIDE], "3 components, the model takes 2 inputs"),
        ([np.zeros((4, 5), np.float32), SIDE], r"'x' is declared as \(None, 6\), the dataflow gives \(4, 5\)"),
        ([X[0], SIDE], "BatchData"),
        ([X, np.zeros(4, np.float32)], "'side'.*float32.*int32"),
        ({"x": X, "sides": SIDE}, "'side'.*'sides'"),
        ([X, np.full(4, 2**40)], "'side'.*do not fit"),
    ],
)
def test_data_that_does_not_fit_the_inputs(tmp_path, datapoint, message):
    with pytest.raises(DataFlowError, match=message):
        train(config(tmp_path, dataflow=Made(datapoint)))


class Sensitive(Classifier):
    def build_graph(self, x, side):
        return super().build_graph(x, side) + 0.0 * tf.reduce_sum(x)


def test_a_cost_that_turns_nan_stops_and_keeps_the_last_good_checkpoint(tmp_path):
    with pytest.raises(TrainingError, match=r"at step 17 .*step-00000012"):
        train(config(tmp_path, model=Sensitive(), dataflow=Points(wrong_at=(1, 4))))
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000012"]


class Looks(PlainClassifier):
    def build_graph(self, x, side):
        return super().build_graph(x + Embedding("table", side, 1, 6), side)


def test_a_step_that_tensorflow_cannot_compute_is_explained(tmp_path):
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        train(config(tmp_path, model=Looks()))
    (note,) = caught.value.__notes__
    assert re.match(r"In Looks, at step 1: the operation 'table/.*' failed: indices.* is not in \[0, 1\)$", note)


class Far(Points):
    """Its datapoint `at` asks for a row that the table of `Rows` lacks."""

    at = 9

    def get(self, index, epoch=0):
        x, side = super().get(index, epoch)
        return [x, side + 2 * (index == self.at)]


class Rows(PlainClassifier):
    def build_graph(self, x, side):
        return super().build_graph(x + Embedding("table", side, 2, 6), side % 2)


@pytest.mark.parametrize("steps_per_call", [1, 4])
def test_steps_under_way_when_one_fails_are_not_counted(tmp_path, steps_per_call):
    seen = []

    class AtTheEnd(Callback):
        def after_train(self):
            seen.append((self.global_step, self.trainer.get_variable("hidden/kernel")))

    def trained(**options):
        return config(tmp_path / str(len(seen)), model=Rows(), callbacks=[AtTheEnd()], **options)

    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        train(trained(dataflow=Far(), steps_per_call=steps_per_call))
    step = seen[0][0]
    assert caught.value.__notes__[0].startswith("In Rows, at step 10: the operation 'table/")
    assert step == 9 if steps_per_call == 1 else step in range(6, 10)  # a call counts as a whole
    if steps_per_call == 1:
        train(trained(dataflow=Points(), steps_per_epoch=9, max_epoch=1))
        assert np.array_equal(seen[0][1], seen[1][1])


def test_hooks_see_the_steps_before_them_done(tmp_path):
    class Looking(Callback):
        def __init__(self, every):
            self.every, self.seen = every, {}

        def next_step(self):
            return (self.global_step // self.every + 1) * self.every

        def before_run(self):
            self.seen[self.global_step] = self.trainer.get_variable("hidden/kernel")

    every, seventh = Looking(1), Looking(7)
    for looking in (every, seventh):
        train(config(tmp_path / str(looking.every), callbacks=[looking], steps_per_call=1, max_epoch=3))
    assert list(seventh.seen) == [6, 13, 20, 27, 34]
    assert all(np.array_equal(kernel, every.seen[step]) for step, kernel in seventh.seen.items())


def test_a_cost_that_is_not_a_scalar(tmp_path):
    class Vector(Classifier):
        def build_graph(self, x, side):
            return FullyConnected("f", x, 1)[:, 0]

    with pytest.raises(ModelError, match="scalar"):
        train(config(tmp_path, model=Vector()))
    with pytest.raises(ConfigError, match="optimizer"):
        train(config(tmp_path / "b", model=NoOptimizer()))


class NoOptimizer(Classifier):
    def optimizer(self):
        return None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": Classifier}, "must be an object, not its class"),
        ({"dataflow": [1, 2]}, "DataFromList"),
        ({"precision": "float16"}, "mixed_bfloat16"),
        ({"max_epoch": 0}, "max_epoch"),
        ({"accumulate": 1.5}, "accumulate"),
        ({"callbacks": ModelSaver()}, "callbacks= must be a list"),
        ({"strategy": "mirrored"}, r"tf\.distribute\.MirroredStrategy\(\); got 'mirrored'"),
        ({"dataflow": None}, "TrainConfig needs dataflow="),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**{"model": Classifier(), "dataflow": Points(), **options}).steps()


def test_a_trainer_says_how_a_configuration_is_written():
    with pytest.raises(ConfigError, match=r"got Classifier: train\(TrainConfig\("):
        train(Classifier())


def test_misspelt_hooks_are_refused(tmp_path):
    class Misspelt(Callback):
        def trigger_epohc(self):
            pass

    with pytest.raises(ConfigError, match="trigger_epoch"):
        train(config(tmp_path, callbacks=[Misspelt()]))


def test_two_callbacks_writing_one_file(tmp_path):
    class Writer(Callback):
        def setup_graph(self):
            self.trainer.claim_file("out.txt", self)

    with pytest.raises(ConfigError, match=r"both write .*out\.txt"):
        train(config(tmp_path, callbacks=[Writer(), Writer()]))
    with pytest.raises(ConfigError, match="twice"):
        saver = ModelSaver()
        train(config(tmp_path / "b", callbacks=[saver, saver]))


def test_variables_can_be_read_and_set(tmp_path):
    class Halve(Callback):
        def trigger_epoch(self):
            self.trainer.set_variable("learning_rate", self.trainer.get_variable("learning_rate") / 2)

    trainer = train(config(tmp_path, callbacks=[Halve()]))
    assert trainer.get_variable("learning_rate") == pytest.approx(0.0025)
    assert "optimizer/momentum/hidden/kernel" in trainer.variable_names()
    assert np.abs(trainer.get_variable("optimizer/momentum/hidden/kernel")).max() > 0
    with pytest.raises(TensorNameError, match="hidden/kernel"):
        trainer.get_variable("hiden/kernel")
    with pytest.raises(ConfigError, match="shape"):
        trainer.set_variable("hidden/kernel", 1.0)


def test_moving_averages_have_no_bias_towards_zero(tmp_path):
    class Costs(Callback):
        values = []

        def before_run(self):
            return ["entropy"]

        def after_run(self, values):
            self.values.append(float(values["entropy"]))

    costs = Costs()
    trainer = train(config(tmp_path, callbacks=[costs], max_epoch=1))
    weights = [0.95 ** (len(costs.values) - 1 - i) for i in range(len(costs.values))]
    assert trainer.moving_averages()["entropy"] == pytest.approx(np.average(costs.values, weights=weights), rel=1e-5)


def test_what_a_callback_adds_to_the_step_runs_in_it(tmp_path):
    class Sum(Callback):
        def setup_graph(self):
            self.sum = tf.Variable(0.0)
            self.trainer.add_variables({"sum_of_costs": self.sum})
            self.trainer.add_to_step(lambda tower: self.sum.assign_add(tower.cost))

        def before_train(self):
            with pytest.raises(ConfigError, match="setup_graph"):
                self.trainer.add_to_step(print)

    summing = Sum()
    trainer = train(config(tmp_path, callbacks=[summing, ModelSaver()], max_epoch=1))
    assert trainer.get_variable("sum_of_costs") == summing.sum.numpy() > 0
    again = train(config(tmp_path, callbacks=[Sum(), ModelSaver()], max_epoch=1), resume="auto")
    assert again.get_variable("sum_of_costs") == summing.sum.numpy()


def test_no_op_trainer_runs_callbacks_alone(tmp_path):
    log = []
    before = train(config(tmp_path / "a"))
    trainer = NoOpTrainer(config(tmp_path / "b", callbacks=[Recorder("a", log)], weights=tmp_path / "a", max_epoch=1))
    trainer.train()
    trainer.close()
    assert same_weights(before, trainer)
    assert [hook for hook, *_ in log].count("trigger_epoch") == 1


class Duel(ModelDesc):
    """Two costs: one pulls a to 3, the other b to a."""

    def inputs(self):
        return [tf.TensorSpec((None, 1), tf.float32, "x")]

    def build_graph(self, x):
        a = FullyConnected("a", tf.ones_like(x), 1, use_bias=False)
        b = FullyConnected("b", tf.ones_like(x), 1, use_bias=False)
        return {
            "a_loss": tf.reduce_mean(tf.square(a - 3.0)),
            "b_loss": tf.reduce_mean(tf.square(b - tf.stop_gradient(a))),
        }

    def optimizer(self):
        sgd = tf.keras.optimizers.SGD
        return {"a_loss": (sgd(0.5), "a/.*"), "b_loss": (sgd(0.5), "b/.*")}


def test_several_costs_and_a_step_of_ones_own(tmp_path):
    class InTurn(Trainer):
        def run_step(self, step):
            step.minimize("a_loss")
            step.minimize("b_loss")

    def run(trainer_class, folder):
        flow = Made([np.zeros((4, 1), np.float32)])
        options = {"model": Duel(), "dataflow": flow, "max_epoch": 1, "steps_per_epoch": 1, "callbacks": []}
        with trainer_class(config(tmp_path / folder, **options)) as trainer:
            return trainer.train()

    start = SimpleTrainer(config(tmp_path / "s", model=Duel(), dataflow=Made([X[:, :1]])))
    start.close()
    a0 = start.get_weights()["a/kernel"].item()
    together, in_turn = run(SimpleTrainer, "together"), run(InTurn, "in_turn")
    assert together.get_weights()["a/kernel"].item() == pytest.approx(3.0)
    assert together.get_weights()["b/kernel"].item() == pytest.approx(a0, abs=1e-6)
    assert in_turn.get_weights()["b/kernel"].item() == pytest.approx(3.0)
    assert {"a_loss", "b_loss"} <= set(together.history)


def test_accumulated_gradients_equal_those_of_the_larger_batch(tmp_path):
    class Parts(DataFlow):
        def __len__(self):
            return 48

        def get(self, index, epoch=0):
            whole = Points(12, rows=32).get(index // 4, epoch)
            return [component[index % 4 * 8 : (index % 4 + 1) * 8] for component in whole]

    large = train(config(tmp_path / "a", model=PlainClassifier(), dataflow=Points(12, rows=32)))
    parts = train(config(tmp_path / "b", model=PlainClassifier(), dataflow=Parts(), accumulate=4))
    assert parts.global_step == 4 * large.global_step
    assert close_weights(large, parts, 1e-5)


def test_xla(tmp_path):
    plain = train(config(tmp_path / "a", model=PlainClassifier()))
    compiled = train(config(tmp_path / "b", model=PlainClassifier(), jit=True, callbacks=[Count()]))
    assert close_weights(plain, compiled, 1e-5)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(tmp_path, precision):
    fetched = []

    def configured(folder, max_epoch):
        runner = InferenceRunner(Points(3), [ScalarStats("entropy")])
        fetching = ProcessTensors(["hidden/output", "entropy"], lambda *its: fetched.append(its), every_k_steps=5)
        callbacks = [ModelSaver(), runner, fetching]
        return config(tmp_path / folder, precision=precision, callbacks=callbacks, max_epoch=max_epoch)

    trainer = train(configured("whole", 4))
    for name in ("cost", "validation_entropy"):
        assert trainer.history[name][-1][1] < trainer.history[name][0][1]
    assert trainer.get_weights()["hidden/kernel"].dtype == np.float32
    assert ("loss_scale" in trainer.history) == (precision == "mixed_float16")
    assert len(fetched) == 48 // 5
    for hidden, entropy in fetched:
        assert hidden.dtype.name == precision.removeprefix("mixed_") and hidden.shape == (8, 16)
        assert np.isfinite(hidden.astype(np.float32)).all() and np.isfinite(float(entropy))

    train(configured("parts", 2))
    parts = train(configured("parts", 4), resume="auto")
    assert same_weights(trainer, parts) and trainer.history == parts.history


def test_the_loss_scale_backs_off_and_skips_the_update(tmp_path):
    class Huge(PlainClassifier):
        def build_graph(self, x, side):
            return tf.cast(super().build_graph(x, side), tf.float32) * tf.where(tf.reduce_sum(x) < 1e9, 3e4, 1.0)

    class Weights(Callback):
        def before_train(self):
            self.first = self.trainer.get_weights()["hidden/kernel"]

    weights = Weights()
    trainer = train(
        config(tmp_path, model=Huge(), precision="mixed_float16", callbacks=[weights], steps_per_epoch=2, max_epoch=1)
    )
    scale = trainer.history["loss_scale"][-1][1]
    assert scale == 2.0**13 and math.log2(scale).is_integer()
    assert np.array_equal(trainer.get_weights()["hidden/kernel"], weights.first)


def test_random_numbers_that_no_checkpoint_holds_are_named(tmp_path, caplog):
    class Noisy(Classifier):
        def build_graph(self, x, side):
            return super().build_graph(x + tf.random.normal(tf.shape(x), name="noise"), side)

    with caplog.at_level(logging.WARNING, logger="flowtrain"):
        train(config(tmp_path, model=Noisy(), max_epoch=1))
    assert "noise/RandomStandardNormal" in caplog.text and "SeedGenerator" in caplog.text


def test_a_tf_data_dataset_is_taken_as_it_is(tmp_path):
    x, side = Points(rows=64).get(0)
    dataset = tf.data.Dataset.from_tensor_slices((x, side)).batch(8)
    trainer = train(config(tmp_path, dataflow=dataset))
    assert trainer.global_step == 16


def test_logged_numbers_are_those_of_the_history(tmp_path):
    trainer = train(config(tmp_path))
    assert read_jsonl(tmp_path) == trainer.history


def test_an_average_counts_updates(tmp_path):
    for accumulate, updates in ((1, 24), (4, 6)):
        trainer = train(config(tmp_path / str(accumulate), callbacks=[EMA(0.9)], accumulate=accumulate))
        assert trainer.get_variable("average/steps") == updates
    half = config(tmp_path / "half", model=Overflowing(), callbacks=[EMA(0.9)], precision="mixed_float16", max_epoch=1)
    skipped = sum(step in Overflowing.steps for step in range(1, 13))
    assert train(half).get_variable("average/steps") == 12 - skipped


class Overflowing(PlainClassifier):
    """Its gradients are infinite in some steps."""

    steps = (2, 3, 7)

    def build_graph(self, x, side):
        cost = super().build_graph(x, side)
        seen = get_variable("seen", (), "zeros", trainable=False)
        now = tf.cast(seen.assign_add(1.0), tf.float32)
        bad = tf.reduce_any(tf.equal(now, tf.constant(self.steps, tf.float32)))
        return tf.cast(cost, tf.float32) * tf.where(bad, 1e35, 1.0)


def frozen_trunk():
    trunk = tf.keras.Sequential([tf.keras.Input((6,)), tf.keras.layers.Dense(4)], name="trunk")
    trunk.trainable = False

    class Tuned(PlainClassifier):
        def build_graph(self, x, side):
            return super().build_graph(trunk(x), side)

    return trunk, Tuned()


def test_trainable_that_is_set_on_a_finished_trainer_is_refused(tmp_path):
    trunk, model = frozen_trunk()
    with SimpleTrainer(config(tmp_path / "a", model=model, max_epoch=1)) as trainer:
        trainer.train()
        trunk.trainable = True
        with pytest.raises(TrainingError, match=r"trainable=True was set for trunk/.*no effect.*Make a new trainer"):
            trainer.train(2)
        trunk.trainable = False
        assert trainer.train(2).global_step == 24
    trunk.trainable = True
    before = trunk.get_weights()[0].copy()
    train(config(tmp_path / "b", model=model, weights=trainer.get_weights(), max_epoch=1))
    assert (trunk.get_weights()[0] != before).any()


def test_so_it_is_in_a_callback(tmp_path):
    trunk, model = frozen_trunk()

    class Unfreeze(Callback):
        def before_epoch(self):
            trunk.trainable = self.epoch_num == 2

    with pytest.raises(TrainingError, match="trainable=True was set for trunk/"):
        train(config(tmp_path, model=model, callbacks=[Unfreeze()]))


def test_a_cell_that_is_run_twice_names_close(tmp_path):
    first = SimpleTrainer(config(tmp_path, max_epoch=1))
    first.train()
    with pytest.raises(TrainingError, match=r"earlier trainer of this process.*trainer\.close\(\)"):
        SimpleTrainer(config(tmp_path), resume="auto")
    first.close()
    with SimpleTrainer(config(tmp_path), resume="auto") as again:
        assert again.train().epoch_num == 2


def test_a_training_that_was_ended_for_good_does_not_go_on(tmp_path):
    stop = EarlyStopping("cost", "min", patience=2, min_delta=1e9)
    with SimpleTrainer(config(tmp_path, callbacks=[stop], max_epoch=10)) as trainer:
        for last in (None, 10, 20, 0):
            assert trainer.train(last).epoch_num == 3
        assert "not better 2 times" in trainer.stop_reason
        stop.patience = 4
        assert trainer.train(20).epoch_num == 5
