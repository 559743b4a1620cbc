"""Weights that are no numbers under a finite cost, and 16-bit gradients that never are: stopped, named, never saved."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from flowtrain.callbacks import EMA, Callback, MinSaver, ModelSaver, PeriodicTrigger
from flowtrain.dataflow import BatchData, DataFromArrays
from flowtrain.layers import FullyConnected
from flowtrain.model import CheckGradient, ModelDesc, add_moving_summary, get_variable
from flowtrain.model.checkpoint_io import CheckpointWriter, list_checkpoints, read_checkpoint, read_state
from flowtrain.training import SimpleTrainer, train
from flowtrain.utils.errors import CheckpointError, TrainingError

from .helpers import config

ROWS, BATCH = 64, 8


def points(blank=None):
    """Rows on a plane; the row `blank` is zero, where the norm has no gradient."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 4)).astype(np.float32)
    y = x.sum(axis=1, keepdims=True)
    if blank is not None:
        x[blank] = y[blank] = 0
    return BatchData(DataFromArrays(x, y), BATCH)


class Distance(ModelDesc):
    processors = ()

    def inputs(self):
        return [tf.TensorSpec((None, 4), tf.float32, "x"), tf.TensorSpec((None, 1), tf.float32, "y")]

    def build_graph(self, x, y):
        # what is not finite from the start is the user's: a constant, a record to beat
        worst = get_variable("worst", (), tf.constant_initializer(-np.inf), trainable=False)
        error = FullyConnected("line", x, 1, use_bias=False) - y
        cost = tf.reduce_mean(tf.sqrt(tf.reduce_sum(tf.square(error), 1)), name="distance")
        add_moving_summary(tf.identity(worst, name="record"))
        return cost

    def optimizer(self):
        return tf.keras.optimizers.SGD(0.01, momentum=0.5)

    def gradient_processors(self):
        return list(self.processors)


def run(folder, blank=None, callbacks=None, **options):
    callbacks = [ModelSaver()] if callbacks is None else callbacks
    return config(folder, model=Distance(), dataflow=points(blank), callbacks=callbacks, **options)


@pytest.mark.parametrize("callbacks", [[], [ModelSaver()], [PeriodicTrigger(ModelSaver(), every_k_steps=2)]])
def test_nan_weights_in_the_last_batch_end_the_run_and_are_not_saved(tmp_path, callbacks):
    with pytest.raises(TrainingError, match=r"line/kernel.*CheckGradient\(\)") as caught:
        train(run(tmp_path, blank=ROWS - 1, callbacks=callbacks, max_epoch=1))
    saved = [path.name for path in list_checkpoints(tmp_path / "checkpoints")]
    if callbacks and isinstance(callbacks[0], PeriodicTrigger):
        assert saved == ["step-00000006", "step-00000004", "step-00000002"]
        assert str(tmp_path / "checkpoints/step-00000006") in str(caught.value)
    else:
        assert saved == [] and "No good checkpoint" in str(caught.value)


def test_the_best_is_not_saved_with_nan_weights(tmp_path):
    class Score(Callback):
        def trigger_epoch(self):
            self.trainer.monitors.put_scalar("score", 1.0 / self.epoch_num, self.global_step)

    with pytest.raises(TrainingError, match="hold NaN"):
        train(run(tmp_path, blank=ROWS - 1, callbacks=[Score(), MinSaver("score")]))
    assert not (tmp_path / "checkpoints").exists()


def test_a_run_of_numbers_is_left_alone(tmp_path):
    trainer = train(run(tmp_path, callbacks=[EMA(0.9), ModelSaver()]))
    assert np.isinf(trainer.get_variable("worst"))
    again = train(run(tmp_path, callbacks=[EMA(0.9), ModelSaver()], max_epoch=3), resume="auto")
    assert again.global_step == 3 * ROWS // BATCH


def poisoned(path, name="line/kernel"):
    """Put NaN into a checkpoint, as an earlier version would have saved it."""
    values, state = read_checkpoint(path), read_state(path)
    values[name] = np.full_like(values[name], np.nan)
    shutil.rmtree(path)
    writer = CheckpointWriter(path)
    writer.write(values, state, {})
    writer.commit()


@pytest.mark.parametrize("name", ["line/kernel", "optimizer/momentum/line/kernel"])
def test_resume_passes_over_a_checkpoint_that_is_not_finite(tmp_path, caplog, name):
    train(run(tmp_path, max_epoch=3))
    poisoned(tmp_path / "checkpoints/step-00000024", name)
    again = train(run(tmp_path, max_epoch=4), resume="auto")
    assert f"step-00000024 is passed over: it holds NaN or infinity in {name}" in caplog.text
    assert "step-00000016: epoch 2" in caplog.text and again.global_step == 32
    poisoned(tmp_path / "checkpoints/step-00000032")
    with pytest.raises(CheckpointError, match="NaN or infinity in line/kernel"):
        train(run(tmp_path, max_epoch=5), resume=tmp_path / "checkpoints/step-00000032")
    for path in list_checkpoints(tmp_path / "checkpoints")[1:]:
        poisoned(path)
    with pytest.raises(CheckpointError, match="all 4 checkpoints"):
        train(run(tmp_path, max_epoch=5), resume="auto")


@pytest.mark.parametrize("steps_per_call", [1, 2, None])
@pytest.mark.parametrize("step", [1, 5, 8])
def test_check_gradient_names_the_step(tmp_path, step, steps_per_call):
    class Checked(Distance):
        processors = (CheckGradient(),)

    flow = points(blank=(step - 1) * BATCH + 3)
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        train(config(tmp_path, model=Checked(), dataflow=flow, steps_per_call=steps_per_call))
    (note,) = caught.value.__notes__
    assert note.startswith(f"In Checked, at step {step}: ") and "the gradient of line/kernel" in note


def test_check_gradient_names_the_step_among_those_of_an_update(tmp_path):
    class Checked(Distance):
        processors = (CheckGradient(),)

    flow = points(blank=5 * BATCH + 3)
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        train(config(tmp_path, model=Checked(), dataflow=flow, accumulate=4))
    assert caught.value.__notes__[0].startswith("In Checked, at step 6: ")


class Starving(Distance):
    """Its gradients are not finite in every step from one on."""

    first = 0

    def build_graph(self, x, y):
        line = tf.cast(FullyConnected("line", x, 1, use_bias=False), tf.float32)
        seen = get_variable("seen", (), "zeros", trainable=False)
        now = tf.cast(seen.assign_add(1.0), tf.float32)
        return tf.cond(now > self.first, lambda: tf.sqrt(tf.reduce_sum(line * 0)), lambda: tf.reduce_mean(line - y))


def starving(folder, first=0, epochs=10, **options):
    model = Starving()
    model.first = first
    return config(folder, model=model, dataflow=points(), precision="mixed_float16", max_epoch=epochs, **options)


@pytest.mark.parametrize("first", [0, 20])
def test_16_bit_training_that_never_updates_is_an_error(tmp_path, first):
    with pytest.raises(TrainingError, match=r"mixed_float16.*not change any more.*of line/kernel were.*mixed_bfloat16"):
        train(starving(tmp_path, first))


def test_a_loss_scale_that_is_still_coming_down_is_none(tmp_path):
    with SimpleTrainer(starving(tmp_path)) as trainer:
        trainer.train(4)
        assert trainer.moving_averages()["loss_scale"] == 1.0
        with pytest.raises(TrainingError, match="not change any more"):
            trainer.train(5)
