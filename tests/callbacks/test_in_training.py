"""The callbacks in short real trainings."""

import numpy as np
import pytest
import tensorflow as tf

from flowtrain.callbacks import (
    EMA,
    BestSaver,
    Callback,
    CheckNumerics,
    DumpTensorAsImage,
    HumanHyperParamSetter,
    HyperParamSetterWithFunc,
    ImageStats,
    InferenceRunner,
    LRFinder,
    ModelSaver,
    MovingAverageSummary,
    PeriodicTrigger,
    ProcessTensors,
    ProgressBar,
    ScalarStats,
    ScheduledHyperParamSetter,
    StatMonitorParamSetter,
    StopTraining,
)
from flowtrain.dataflow import BatchData, DataFromList
from flowtrain.layers import Conv2D
from flowtrain.metrics import psnr
from flowtrain.model import ModelDesc, add_image_summary, add_moving_summary, get_scalar_var
from flowtrain.model.checkpoint_io import read_checkpoint
from flowtrain.monitors import JSONLMonitor, TensorBoardMonitor, read_jsonl
from flowtrain.training import TrainConfig, train
from flowtrain.utils import FlowtrainError

RNG = np.random.default_rng(0)
CLEAN = RNG.random((20, 8, 8, 1)).astype(np.float32)
NOISY = (CLEAN + RNG.normal(0, 0.2, CLEAN.shape)).astype(np.float32)


class Denoise(ModelDesc):
    def inputs(self):
        return [tf.TensorSpec((None, 8, 8, 1), tf.float32, name) for name in ("noisy", "clean")]

    def build_graph(self, noisy, clean):
        x = Conv2D("conv0", noisy, 4, kernel_size=3, padding="same", activation=tf.nn.relu)
        x = Conv2D("last", x, 1, kernel_size=3, padding="same")
        cost = tf.reduce_mean(tf.square(x - clean), name="l2_loss")
        add_moving_summary(cost)
        add_image_summary("denoised", tf.clip_by_value(x, 0.0, 1.0), max_outputs=2)
        return cost

    def optimizer(self):
        rate, beta = get_scalar_var("learning_rate", 1e-2), get_scalar_var("beta_1", 0.9)
        return tf.keras.optimizers.Adam(rate, beta_1=beta)


class Explode(Denoise):
    def build_graph(self, noisy, clean):
        rate = get_scalar_var("spoil", 1.0)
        x = Conv2D("conv0", noisy + tf.math.log(rate, name="log_rate"), 1, kernel_size=3, padding="same")
        return tf.reduce_mean(tf.square(x - clean), name="l2_loss")


def flow(first=0, last=16, size=4, shuffle=False):
    data = [[noisy, clean] for noisy, clean in zip(NOISY[first:last], CLEAN[first:last], strict=True)]
    return BatchData(DataFromList(data, shuffle=shuffle), size, remainder=True)


def run(folder, *callbacks, model=None, max_epoch=3, resume=None, monitors=()):
    config = TrainConfig(
        model=model or Denoise(),
        dataflow=flow(shuffle=True),
        callbacks=list(callbacks),
        monitors=list(monitors),
        max_epoch=max_epoch,
        log_dir=folder,
    )
    trainer = train(config, resume=resume)
    trainer.close()
    return trainer


def test_the_best_weights_are_those_of_the_best_value(tmp_path):
    kept = {}

    class Keep(Callback):
        def trigger_epoch(self):
            kept[self.global_step] = self.trainer.get_weights()

    valid = InferenceRunner(
        flow(16, 20, size=3), [ScalarStats("l2_loss"), ImageStats("clean", "last/output", data_range=1.0)]
    )
    trainer = run(tmp_path, BestSaver("validation_psnr", mode="max"), Keep(), valid, max_epoch=4)
    step, best = max(trainer.history["validation_psnr"], key=lambda pair: pair[1])
    saved = read_checkpoint(tmp_path / "checkpoints" / "best-validation_psnr")
    for name, value in kept[step].items():
        np.testing.assert_array_equal(saved[name], value)

    trainer.graph.store.set_weights(kept[step])
    (denoised,) = trainer.get_predictor(["noisy"], ["last/output"])(NOISY[16:])
    assert best == pytest.approx(psnr(CLEAN[16:], denoised, data_range=1.0, per_image=True).mean(), abs=1e-4)
    mean_square = dict(trainer.history["validation_l2_loss"])[step]
    assert mean_square == pytest.approx(np.mean((denoised - CLEAN[16:]) ** 2), rel=1e-5)


def test_a_killed_and_resumed_run_logs_what_an_undisturbed_one_does(tmp_path):
    def callbacks():
        return [
            BestSaver("validation_l2_loss", mode="min"),
            ModelSaver(),
            EMA(0.9, InferenceRunner(flow(16, 20), ScalarStats("l2_loss"), prefix="ema")),
            InferenceRunner(flow(16, 20, shuffle=True), ScalarStats("l2_loss")),
            HyperParamSetterWithFunc("learning_rate", lambda epoch, rate: rate * 0.7),
        ]

    class Fail(Callback):
        def trigger_step(self):
            if self.global_step == 10:
                raise KeyboardInterrupt

    whole = run(tmp_path / "whole", *callbacks(), max_epoch=4, monitors=[JSONLMonitor()])
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", *callbacks(), Fail(), max_epoch=4, monitors=[JSONLMonitor()])
    again = run(tmp_path / "cut", *callbacks(), max_epoch=4, monitors=[JSONLMonitor()], resume="auto")
    assert again.history == whole.history
    assert read_jsonl(tmp_path / "cut") == read_jsonl(tmp_path / "whole")
    for name, value in whole.get_weights().items():
        np.testing.assert_array_equal(again.get_weights()[name], value)
    for name in ("best-validation_l2_loss", "step-00000016"):
        mine, theirs = (read_checkpoint(tmp_path / run / "checkpoints" / name) for run in ("cut", "whole"))
        assert mine.keys() == theirs.keys() and "average/conv0/kernel" in mine
        for variable, value in theirs.items():
            np.testing.assert_array_equal(mine[variable], value)


def test_an_average_stands_in_for_the_weights(tmp_path):
    ema = EMA(0.9)
    trainer = run(tmp_path, ema, max_epoch=2)
    predictor = trainer.get_predictor(["noisy"], ["last/output"])
    plain = predictor(NOISY)[0]
    with ema.applied():
        np.testing.assert_array_equal(trainer.get_weights()["last/kernel"], ema.get_weights()["last/kernel"])
        averaged = predictor(NOISY)[0]
    assert np.abs(plain - averaged).max() > 0
    np.testing.assert_array_equal(predictor(NOISY)[0], plain)


def test_tensors_of_steps_are_seen_when_asked_for(tmp_path):
    seen = []
    process = ProcessTensors(["l2_loss", "conv0/output"], lambda cost, x: seen.append((cost.shape, x.shape)), 3)
    dump = DumpTensorAsImage("last/output", prefix="last", max_images=1)
    run(tmp_path, process, dump, monitors=[TensorBoardMonitor()], max_epoch=2)
    assert seen == [((), (4, 8, 8, 4))] * 2
    assert len(list(tmp_path.glob("last-step-*-0.png"))) == 2
    tags, nodes = set(), set()
    for path in (tmp_path / "tensorboard").glob("events*"):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            tags |= {value.tag for value in event.summary.value}
            nodes |= {node.name for node in tf.compat.v1.GraphDef.FromString(event.graph_def).node}
    assert {"conv0/output", "last/output", "l2_loss"} <= nodes
    assert "_hparams_/session_start_info" in tags
    assert {"denoised/0", "denoised/1", "l2_loss"} <= tags


def test_any_hyperparameter_of_the_optimizer_moves(tmp_path):
    moving = ScheduledHyperParamSetter("beta_1", [(0, 0.9), (8, 0.5)], "linear", step_based=True)
    trainer = run(tmp_path / "moving", moving, max_epoch=2)
    assert float(trainer.get_variable("beta_1")) == pytest.approx(0.5)
    still = run(tmp_path / "still", max_epoch=2)
    assert not np.array_equal(trainer.get_weights()["last/kernel"], still.get_weights()["last/kernel"])
    with pytest.raises(FlowtrainError, match="beta_2=get_scalar_var"):
        run(tmp_path / "wrong", HyperParamSetterWithFunc("beta_2", lambda epoch: 0.9))


def test_the_rate_finder_leaves_no_trace_in_the_weights(tmp_path):
    finder = LRFinder(start=1e-4, end=10.0, steps=40)
    trainer = run(tmp_path, finder, max_epoch=100)
    assert finder.suggestion is not None and 1e-3 < finder.suggestion < 5
    assert (tmp_path / "lr_finder.png").exists() and trainer.epoch_num < 12
    assert float(trainer.get_variable("learning_rate")) == pytest.approx(1e-2)


def test_the_first_bad_tensor_is_named_when_the_cost_is_none(tmp_path, caplog):
    spoil = ScheduledHyperParamSetter("spoil", [(5, 0.0)], step_based=True)
    with pytest.raises(FlowtrainError, match="step 6"):
        run(tmp_path / "late", CheckNumerics(), spoil, model=Explode())
    assert "'log_rate' is not finite at step 6" in caplog.text
    with pytest.raises(FlowtrainError, match="'log_rate' is not finite at step 6"):
        run(tmp_path / "early", CheckNumerics(every_k_steps=1), spoil, model=Explode())


def test_training_ends_when_a_hook_says_so(tmp_path):
    class Enough(Callback):
        def trigger_step(self):
            if self.global_step == 6:
                raise StopTraining("enough")

    at = []
    saver = PeriodicTrigger(ModelSaver(), every_k_steps=4)
    trainer = run(tmp_path, Enough(), saver, ProcessTensors(["l2_loss"], lambda cost: at.append(1), 1))
    assert trainer.global_step == 6 and trainer.stop_reason == "enough" and len(at) == 6
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-00000004", "step-00000006"]


def test_what_is_given_is_no_default_as_well(tmp_path):
    often = PeriodicTrigger(MovingAverageSummary(), every_k_steps=3)
    trainer = run(tmp_path, ProgressBar(["l2_loss"]), often, max_epoch=2)
    assert [callback.name for callback in trainer.callbacks] == [
        "TensorSummaries", "ProgressBar", "PeriodicTrigger(MovingAverageSummary)",
    ]  # fmt: skip
    assert [step for step, _ in trainer.history["l2_loss"]] == [3, 6, 8]


def test_a_schedule_object_and_a_setter_are_told_apart(tmp_path):
    class Scheduled(Denoise):
        def optimizer(self):
            return tf.keras.optimizers.Adam(tf.keras.optimizers.schedules.CosineDecay(0.1, 100))

    for setter in (
        ScheduledHyperParamSetter("learning_rate", [(1, 0.1)]),
        HumanHyperParamSetter("learning_rate"),
        StatMonitorParamSetter("optimizer/learning_rate", "cost", lambda rate: rate / 2, "min"),
    ):
        with pytest.raises(
            FlowtrainError, match=r'a schedule for it, CosineDecay.*Adam\(get_scalar_var\("learning_rate"'
        ):
            run(tmp_path / type(setter).__name__, setter, model=Scheduled())
