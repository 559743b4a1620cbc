"""Validation: exact counts, names, several sets, and mistakes."""

import numpy as np
import pytest

from flowtrain.callbacks import (
    BinaryClassificationStats,
    ClassificationError,
    ImageStats,
    Inferencer,
    InferenceRunner,
    PeriodicTrigger,
    ScalarStats,
)
from flowtrain.dataflow import BatchData, DataFromList
from flowtrain.metrics import psnr, ssim
from flowtrain.utils import FlowtrainError

RNG = np.random.default_rng(0)
X = RNG.random((7, 2)).astype(np.float32)
LABELS = RNG.integers(0, 2, 7)


def flow(size=3, remainder=True, count=7, shuffle=False):
    data = [[X[i], int(LABELS[i])] for i in range(count)]
    return BatchData(DataFromList(data, shuffle=shuffle), size, remainder=remainder)


def test_a_short_last_batch_counts_by_its_size(make_trainer):
    trainer = make_trainer(InferenceRunner(flow(), ScalarStats("loss")), max_epoch=1, steps_per_epoch=2).run()
    ((step, value),) = trainer.history["validation_loss"]
    assert step == 2 and value == pytest.approx(X.mean() + 2.0, abs=1e-6)


def test_classification_counts_are_exact(make_trainer):
    stats = [
        ClassificationError("wrong"),
        ClassificationError(logits="x", labels="label", name="top1_error"),
        BinaryClassificationStats("probability", "label"),
    ]
    trainer = make_trainer(InferenceRunner(flow(), stats), max_epoch=1).run()
    wrong = (X[:, 0] > X[:, 1]) != LABELS.astype(bool)
    latest = trainer.monitors.latest
    assert latest("validation_error") == wrong.sum() / 7
    assert latest("validation_top1_error") == (X.argmax(1) != LABELS).sum() / 7
    assert latest("validation_accuracy") == 1 - wrong.sum() / 7
    found = X[:, 0] > X[:, 1]
    assert latest("validation_recall") == pytest.approx((found & (LABELS == 1)).sum() / LABELS.sum())


def test_image_stats_are_means_over_pictures(make_trainer):
    trainer = make_trainer(InferenceRunner(flow(), ImageStats("picture", "shifted", data_range=1.0)), max_epoch=1).run()
    pictures = np.tile(X, (1, 128)).reshape(-1, 16, 16, 1)
    assert trainer.monitors.latest("validation_psnr") == pytest.approx(20.0, abs=1e-4)
    expected = np.mean([ssim(p[..., 0], p[..., 0] + 0.1, data_range=1.0) for p in pictures])
    assert trainer.monitors.latest("validation_ssim") == pytest.approx(expected, abs=1e-5)
    assert psnr(pictures, pictures + 0.1, data_range=1.0) == pytest.approx(20.0)


def test_prefixes_tell_several_sets_apart(make_trainer):
    runner = InferenceRunner({"day": flow(), "night": flow(count=3)}, ScalarStats("loss"))
    other = InferenceRunner([flow(), flow()], ScalarStats("loss"), prefix="val")
    own = InferenceRunner(flow(), ScalarStats("loss", prefix="test"))
    trainer = make_trainer(runner, other, own, max_epoch=1).run()
    assert list(trainer.history) == ["day_loss", "night_loss", "val_1_loss", "val_2_loss", "test_loss"]
    assert trainer.monitors.latest("night_loss") == pytest.approx(X[:3].mean() + 4.0, abs=1e-6)


def test_it_can_be_triggered_by_steps(make_trainer):
    runner = PeriodicTrigger(InferenceRunner(flow(), ScalarStats("loss")), every_k_steps=5)
    trainer = make_trainer(runner).run()
    assert [step for step, _ in trainer.history["validation_loss"]] == [5, 10, 12]


def test_an_own_inferencer_sees_arrays_and_the_trainer(make_trainer):
    class Largest(Inferencer):
        def get_fetches(self):
            return ["x", "loss"]

        def before_inference(self):
            self.largest, self.sizes = 0.0, []

        def on_fetches(self, outputs):
            assert isinstance(outputs[0], np.ndarray) and len(outputs[0]) == self.batch_size
            self.largest = max(self.largest, outputs[0].max())
            self.sizes.append(self.batch_size)

        def after_inference(self):
            assert self.sizes == [3, 3, 1]
            return {"largest": self.largest + self.trainer.epoch_num}

    trainer = make_trainer(InferenceRunner(flow(), Largest()), max_epoch=2).run()
    assert trainer.history["validation_largest"] == [(4, X.max() + 1), (8, X.max() + 2)]


def test_a_shuffled_flow_goes_on_where_it_was(make_trainer):
    def seen_by(trainer):
        return [state["flows"]["validation"]["epoch"] for state in trainer.state_dict()["callbacks"]]

    trainer = make_trainer(InferenceRunner(flow(shuffle=True), ScalarStats("loss"))).run(until_epoch=2)
    again = make_trainer(InferenceRunner(flow(shuffle=True), ScalarStats("loss")))
    again.load_state_dict(trainer.state_dict())
    assert seen_by(again) == seen_by(trainer) == [2]


def test_a_flow_without_a_batch_is_an_error(make_trainer):
    runner = InferenceRunner({"empty": []}, ScalarStats("loss"))
    with pytest.raises(FlowtrainError, match="remainder=True"):
        make_trainer(runner).run()


def test_what_is_no_scalar_is_an_error(make_trainer):
    with pytest.raises(FlowtrainError, match=r"'x' has shape \(3, 2\)"):
        make_trainer(InferenceRunner(flow(), ScalarStats("x"))).run()


class Old(Inferencer):
    def _before_inference(self):
        pass


@pytest.mark.parametrize(
    "call,word",
    [
        (lambda: InferenceRunner(flow(), []), "at least one"),
        (lambda: InferenceRunner(flow(), [print]), "Inferencer"),
        (lambda: InferenceRunner(flow(), [ScalarStats]), "instance"),
        (lambda: InferenceRunner(flow(), [Old()]), "Write before_inference"),
        (lambda: InferenceRunner([], ScalarStats("loss")), "dataflow"),
        (lambda: InferenceRunner(3, ScalarStats("loss")), "3 is no dataflow"),
        (lambda: InferenceRunner({"a": flow(), "b": flow()}, ScalarStats("l", prefix="p")), "prefix"),
        (lambda: ClassificationError(), "ClassificationError"),
        (lambda: ClassificationError("a", logits="b", labels="c"), "ClassificationError"),
    ],
)
def test_mistakes_are_named(call, word):
    with pytest.raises(FlowtrainError, match=word):
        call()


def test_unknown_inputs_are_named(make_trainer):
    with pytest.raises(FlowtrainError, match="'labels'"):
        make_trainer(InferenceRunner(flow(), ScalarStats("loss"), inputs=["x", "labels"]))
