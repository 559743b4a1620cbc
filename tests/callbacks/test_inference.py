"""Validation: exact counts, names, several sets, and mistakes."""

import numpy as np
import pytest
import tensorflow as tf

from flowtrain.callbacks import (
    EMA,
    BinaryClassificationStats,
    ClassificationError,
    ImageStats,
    Inferencer,
    InferenceRunner,
    PeriodicTrigger,
    ScalarStats,
)
from flowtrain.dataflow import (
    BatchData,
    ConcatData,
    DataFromGenerator,
    DataFromList,
    FilterData,
    FixedSizeData,
    JoinData,
    MapData,
    PrefetchData,
    RepeatedData,
    ShuffleData,
    TakeData,
)
from flowtrain.feed import from_tf_dataset
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


def test_another_flow_after_a_resume_begins_at_the_epoch_that_is_due(make_trainer):
    trainer = make_trainer(InferenceRunner(flow(shuffle=True), ScalarStats("loss"))).run(until_epoch=2)
    for other in (flow(size=2), ShuffleData(flow(shuffle=True)), from_tf_dataset(DATASET)):
        runner = InferenceRunner(other, ScalarStats("loss"))
        again = make_trainer(runner).load_state_dict(trainer.state_dict()).run()
        assert runner.state_dict()["flows"]["validation"]["epoch"] == 3
        assert again.history["validation_loss"][-1][0] == 12


def test_a_flow_without_a_batch_is_an_error(make_trainer):
    runner = InferenceRunner({"empty": FilterData(flow(), lambda datapoint: False)}, ScalarStats("loss"))
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
        (lambda: InferenceRunner(flow(), [ScalarStats]), "an Inferencer must be an object, not its class"),
        (lambda: InferenceRunner(flow(), [Old()]), "Write before_inference"),
        (lambda: InferenceRunner([], ScalarStats("loss")), "dataflow"),
        (lambda: InferenceRunner(3, ScalarStats("loss")), "got int"),
        (lambda: InferenceRunner([[X, LABELS], [X, LABELS]], ScalarStats("loss")), "several.*got list.*DataFromList"),
        (lambda: InferenceRunner(((X, LABELS) for _ in "ab"), ScalarStats("loss")), "generator.*DataFromGenerator"),
        (lambda: InferenceRunner(DataFromList, ScalarStats("loss")), r"not its class: DataFromList\(\)"),
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


def endless():
    while True:
        yield [X[:3], LABELS[:3]]


DATASET = tf.data.Dataset.from_tensor_slices((X, LABELS)).batch(3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: RepeatedData(flow(), -1),
        lambda: RepeatedData(DataFromGenerator(lambda: iter([[X[:3], LABELS[:3]]])), -1),
        lambda: FilterData(RepeatedData(flow(), -1), lambda datapoint: True),
        lambda: MapData(RepeatedData(flow(), -1), lambda datapoint: datapoint),
        lambda: ConcatData([flow(), RepeatedData(flow(), -1)]),
        lambda: JoinData([RepeatedData(flow(), -1), RepeatedData(flow(), -1)]),
        lambda: DATASET.repeat(),
        lambda: PrefetchData(from_tf_dataset(DATASET.repeat()), 1, 0),
    ],
)
def test_data_without_end_is_refused(make):
    for several in (lambda ds: ds, lambda ds: [flow(), ds], lambda ds: {"a": ds}):
        with pytest.raises(FlowtrainError, match=r"never ends.*TakeData"):
            InferenceRunner(several(make()), ScalarStats("loss"))


@pytest.mark.parametrize(
    "make",
    [
        lambda: TakeData(RepeatedData(flow(), -1), 3),
        lambda: FixedSizeData(RepeatedData(flow(), -1), 3),
        lambda: DATASET.repeat().take(3),
        lambda: DATASET.filter(lambda x, label: True),
        lambda: TakeData(from_tf_dataset(DATASET.repeat()), 3),
        lambda: TakeData(DataFromGenerator(endless), 3),
        lambda: DataFromGenerator(lambda: iter([[X, LABELS]])),
        lambda: FilterData(flow(), lambda datapoint: True),
    ],
)
def test_data_that_ends_is_taken(make, make_trainer):
    trainer = make_trainer(InferenceRunner(make(), ScalarStats("loss")), max_epoch=1).run()
    assert len(trainer.history["validation_loss"]) == 1


def test_a_generator_that_does_not_end_is_an_error_at_last(make_trainer):
    with pytest.raises(FlowtrainError, match=r"2000 batches and no end.*TakeData.*FixedSizeData"):
        make_trainer(InferenceRunner(DataFromGenerator(endless), ScalarStats("loss"))).run()


def runner(*inferencers, **options):
    return InferenceRunner(flow(), list(inferencers) or [ScalarStats("loss")], **options)


@pytest.mark.parametrize(
    "callbacks",
    [
        lambda: [runner(), runner()],
        lambda: [runner(), PeriodicTrigger(runner(), every_k_steps=3)],
        lambda: [runner(), EMA(0.9, runner())],
        lambda: [runner(), InferenceRunner({"validation": flow()}, ScalarStats("loss"))],
        lambda: [runner(prefix="a"), runner(ScalarStats("loss", prefix="a"))],
        lambda: [runner(ClassificationError("wrong")), runner(ClassificationError("wrong"))],
        lambda: [runner(ScalarStats("loss"), ScalarStats(["x", "loss"]))],
        lambda: [runner(ClassificationError("wrong"), ClassificationError(logits="x", labels="label"))],
    ],
)
def test_two_that_write_one_curve_are_refused_before_training(callbacks, make_trainer):
    with pytest.raises(FlowtrainError, match=r"same scalar 'validation_\w+'|same scalar 'a_loss'"):
        make_trainer(*callbacks())


def test_curves_of_other_names_are_fine(make_trainer):
    callbacks = [runner(), runner(prefix="test"), runner(ClassificationError("wrong"))]
    trainer = make_trainer(*callbacks, max_epoch=1).run()
    assert set(trainer.history) == {"validation_loss", "test_loss", "validation_error"}


class Named(Inferencer):
    """One of a user, whose names are known when it logs."""

    def get_fetches(self):
        return ["loss"]

    def on_fetches(self, outputs):
        pass

    def after_inference(self):
        return {"mine": 1.0}


def test_two_inferencers_of_ones_own_that_write_one_curve(make_trainer):
    with pytest.raises(FlowtrainError, match="same scalar 'validation_mine'"):
        make_trainer(runner(Named(), Named())).run()
