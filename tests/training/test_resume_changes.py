"""What may differ between a run and the checkpoint it goes on from: the rows, the table, the refusal."""

import json
import logging

import numpy as np
import pytest
import tensorflow as tf

from flowtrain.callbacks import Callback, EarlyStopping, ModelSaver, PeriodicTrigger
from flowtrain.dataflow import (
    BatchData,
    DataFromArrays,
    DataFromGenerator,
    MapData,
    PrefetchData,
    RandomMapData,
    ShuffleData,
    TakeData,
)
from flowtrain.layers import FullyConnected
from flowtrain.model import ModelDesc, get_scalar_var
from flowtrain.training import Preempted, SimpleTrainer, run_state, train
from flowtrain.utils.errors import ConfigError

from .helpers import Leave, config, same_weights

ROWS = 64


class Line(ModelDesc):
    def __init__(self, rate=0.01):
        self.rate = rate

    def inputs(self):
        return [tf.TensorSpec((None, 1), tf.float32, "row")]

    def build_graph(self, row):
        return tf.reduce_mean(tf.square(FullyConnected("line", row, 1)) * 1e-6, name="square")

    def optimizer(self):
        return tf.keras.optimizers.SGD(get_scalar_var("learning_rate", self.rate))


class OtherLine(Line):
    def build_graph(self, row):
        return tf.reduce_mean(tf.abs(FullyConnected("line", row, 1)) * 1e-6, name="square")


class Rows(Callback):
    """Which rows each step was given."""

    def __init__(self):
        self.batches = []

    def before_run(self):
        return ["row"]

    def after_run(self, values):
        self.batches.append([int(x) for x in np.abs(values["row"][:, 0])])


def source(rows=ROWS, shuffle=False, seed=None, first=0):
    return DataFromArrays(np.arange(first, first + rows, dtype=np.float32)[:, None], shuffle=shuffle, seed=seed)


def noisy(batch=8):
    """Random by row: the same row draws the same number in a batch of any size."""
    flow = RandomMapData(source(shuffle=True), lambda dp, rng: [dp[0] + np.float32(rng.uniform(0, 0.5))])
    return BatchData(flow, batch)


def start(folder, flow, step=5, **options):
    """Train up to a step in the middle of the first epoch (None: to its end), and leave."""
    rows = Rows()
    callbacks = [ModelSaver(), rows, *([Leave(step)] if step else [])]
    made = config(folder, dataflow=flow, callbacks=callbacks, max_epoch=3 if step else 1, model=Line(), **options)
    if step is None:
        train(made)
    else:
        with pytest.raises(Preempted):
            train(made)
    return rows.batches


def go_on(folder, flow, caplog, model=None, accept=False, epochs=2, callbacks=(), **options):
    rows = Rows()
    caplog.clear()
    callbacks = [ModelSaver(), rows, *callbacks]
    made = config(folder, dataflow=flow, callbacks=callbacks, max_epoch=epochs, model=model or Line(), **options)
    trainer = train(made, resume="auto", resume_changes="accept" if accept else None)
    said = [r.getMessage() for r in caplog.records if "differs from the one" in r.getMessage()]
    return trainer, rows.batches, " ".join("\n".join(said).split())


@pytest.fixture(autouse=True)
def _seen(caplog):
    caplog.set_level(logging.WARNING)


def flat(batches):
    return [row for batch in batches for row in batch]


@pytest.mark.parametrize("then,now,workers", [(8, 16, 1), (16, 8, None), (8, 4, None), (8, 12, 1), (16, 24, None)])
def test_another_batch_size_goes_on_at_the_row_that_was_due(tmp_path, caplog, then, now, workers):
    def made(batch):
        flow = BatchData(source(), batch)
        return flow if workers is None else PrefetchData(flow, num_prefetch=2, num_proc=workers)

    step = 40 // then
    before = flat(start(tmp_path, made(then), step))
    trainer, batches, table = go_on(tmp_path, made(now), caplog)
    assert before == list(range(step * then))
    left = ROWS - step * then
    assert flat(batches)[:left] == list(range(step * then, ROWS))  # no row left out, none a second time
    assert all(len(batch) == now for batch in batches[: left // now])
    assert flat(batches)[left : left + now] == list(range(now))
    assert f"goes on at row {step * then} of {ROWS}" in table and "BatchData.batch_size" in table
    assert trainer.epoch_num == 2 and len(trainer.history["cost"]) == 2


def test_random_numbers_of_a_row_do_not_depend_on_the_batch(tmp_path, caplog):
    whole = Rows()
    train(config(tmp_path / "whole", dataflow=noisy(16), callbacks=[whole], max_epoch=1, model=Line()))
    before = start(tmp_path / "a", noisy(8), 5)
    _, batches, _ = go_on(tmp_path / "a", noisy(4), caplog, epochs=1)
    assert flat(before) + flat(batches) == flat(whole.batches)


def test_it_can_be_killed_again_in_the_rest_of_the_epoch(tmp_path, caplog):
    start(tmp_path, noisy(8), 2)
    rows = Rows()
    made = config(tmp_path, dataflow=noisy(12), callbacks=[ModelSaver(), rows, Leave(4)], max_epoch=2, model=Line())
    with pytest.raises(Preempted):
        train(made, resume="auto")
    _, batches, table = go_on(tmp_path, noisy(12), caplog, epochs=1)
    assert "batch_size" not in table
    whole = Rows()
    train(config(tmp_path / "whole", dataflow=noisy(8), callbacks=[whole], max_epoch=1, model=Line()))
    assert flat(rows.batches) + flat(batches) == flat(whole.batches)[16:]


FUNCTION = [lambda dp: [dp[0] * 1.0], lambda dp: [dp[0] * -1.0]]
REFUSED = {
    "longer": (source, lambda: source(ROWS * 2), "rows of an epoch"),
    "shorter": (source, lambda: source(48), "rows of an epoch"),
    "shuffled": (source, lambda: source(shuffle=True), "shuffle"),
    "shuffle stage": (source, lambda: ShuffleData(source()), "ShuffleData"),
    "part": (source, lambda: TakeData(source(), 56), "TakeData"),
}
SAID = {
    "seed": (lambda: source(shuffle=True, seed=1), lambda: source(shuffle=True, seed=2), "keeps the seed"),
    "data": (source, lambda: source(first=1), "other data: rows from 40 on"),
    "map code": (lambda: MapData(source(), FUNCTION[0]), lambda: MapData(source(), FUNCTION[1]), "the new way"),
    "map": (source, lambda: MapData(source(), FUNCTION[1]), "the new way"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_skip_or_repeat_data_is_refused(tmp_path, caplog, case):
    then, now, said = REFUSED[case]
    start(tmp_path, BatchData(then(), 8))
    with pytest.raises(ConfigError, match=r'resume_changes="accept"') as caught:
        go_on(tmp_path, BatchData(now(), 8), caplog)
    assert said in str(caught.value)
    trainer, batches, table = go_on(tmp_path, BatchData(now(), 8), caplog, accept=True)
    assert said in table and trainer.epoch_num == 2
    if "shuffle" not in case:
        assert batches[0][0] == 40  # the place stays


@pytest.mark.parametrize("case", REFUSED)
def test_at_the_end_of_an_epoch_nothing_is_refused(tmp_path, caplog, case):
    then, now, said = REFUSED[case]
    start(tmp_path, BatchData(then(), 8), step=None)
    trainer, batches, table = go_on(tmp_path, BatchData(now(), 8), caplog)
    assert said in table and "from this epoch on" in table
    assert sorted(flat(batches)) == list(range(len(now()))) and trainer.epoch_num == 2


@pytest.mark.parametrize("case", SAID)
def test_what_keeps_the_place_is_said(tmp_path, caplog, case):
    then, now, said = SAID[case]
    before = start(tmp_path, BatchData(then(), 8))
    _, batches, table = go_on(tmp_path, BatchData(now(), 8), caplog, epochs=1)
    assert said in table
    if case != "data":
        assert sorted(flat(before) + flat(batches)) == list(range(ROWS))


@pytest.mark.parametrize("what", ["workers", "callback", "learning_rate", "code", "steps"])
def test_what_else_may_change(tmp_path, caplog, what):
    flow, options, model, callbacks = BatchData(source(), 8), {}, None, []
    start(tmp_path, flow)
    if what == "workers":
        flow = PrefetchData(flow, num_prefetch=2, num_proc=1)
    elif what == "callback":
        callbacks = [EarlyStopping("cost", "min", patience=7)]
    elif what == "steps":
        options = {"steps_per_epoch": 4}
    else:
        model = {"learning_rate": Line(rate=0.5), "code": OtherLine()}[what]
    trainer, batches, table = go_on(tmp_path, flow, caplog, model, epochs=1, callbacks=callbacks, **options)
    said = {
        "workers": "nothing: the data is the same",
        "callback": "begins now",
        "learning_rate": "stays at 0.01, as the checkpoint has it",
        "code": "trained so from here on",
        "steps": "steps_per_epoch",
    }[what]
    assert said in table
    if what == "learning_rate":
        assert trainer.get_variable("learning_rate") == np.float32(0.01) and "trainer.set_variable" in table
    assert flat(batches) == ([] if what == "steps" else list(range(40, ROWS)))


def test_an_argument_that_is_the_default_again_is_no_callback_left_out(tmp_path, caplog):
    flow = BatchData(source(), 8)
    train(config(tmp_path, dataflow=flow, callbacks=[ModelSaver(keep=3), Rows()], max_epoch=1, model=Line()))
    _, _, table = go_on(tmp_path, flow, caplog)
    assert "ModelSaver" in table and "from here on" in table and "left out" not in table


class Labelled(Callback):
    """Its state says whose it is."""

    def __init__(self, label, limit=1):
        self.label, self.limit, self.got = label, limit, None

    def reset(self):
        self.got = None

    def trigger(self):
        pass

    def state_dict(self):
        return {"label": self.label}

    def load_state_dict(self, state):
        self.got = state["label"]


@pytest.mark.parametrize(
    "then,now,got",
    [
        (["a"], ["b", "a"], [None, "a"]),
        (["a"], ["a", "b"], ["a", None]),
        (["a", "b"], ["b", "a"], ["b", "a"]),
        (["a", "b"], ["b"], ["b"]),
        (["a", "b", "c"], ["c", "new", "a"], ["c", "b", "a"]),
        (["a"], ["new", "other"], [None, None]),
        (["a"], ["a2"], ["a"]),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_state_goes_to_the_callback_that_it_is_of(tmp_path, then, now, got, wrapped):
    def callbacks(labels):
        made = [Labelled(label) for label in labels]
        return [PeriodicTrigger(callback, every_k_epochs=1) for callback in made] if wrapped else made

    flow = BatchData(source(), 8)
    train(config(tmp_path, dataflow=flow, callbacks=[ModelSaver(), *callbacks(then)], max_epoch=1, model=Line()))
    mine = callbacks(now)
    with SimpleTrainer(config(tmp_path, dataflow=flow, callbacks=[ModelSaver(), *mine], model=Line()), resume="auto"):
        assert [getattr(callback, "callback", callback).got for callback in mine] == got


def test_nothing_is_said_where_nothing_has_changed(tmp_path, caplog):
    def made(run, epochs):
        flow = PrefetchData(MapData(noisy(8), lambda dp: [dp[0] * 1.0]), num_prefetch=2, num_proc=1)
        callbacks = [ModelSaver(), EarlyStopping("cost", "min", patience=7)]
        return config(tmp_path / run, dataflow=flow, callbacks=callbacks, model=Line(), max_epoch=epochs)

    whole = train(made("a", 2))
    train(made("b", 1))
    caplog.clear()
    again = train(made("b", 2), resume="auto")
    assert "differs" not in caplog.text and same_weights(whole, again)
    first, second = (json.loads((tmp_path / run / "config.json").read_text()) for run in "ab")
    assert first == {**second, "max_epoch": 2} and "0x" not in json.dumps(first)
    stages = [stage["stage"] for stage in first["dataflow"]]
    assert stages == ["DataFromArrays", "RandomMapData", "BatchData", "MapData", "PrefetchData"]


def test_a_flow_that_can_only_be_walked(tmp_path, caplog):
    def rows():
        for i in range(ROWS):
            yield [np.array([i], np.float32)]

    def flow(batch):
        return BatchData(DataFromGenerator(rows, size=ROWS), batch)

    start(tmp_path, flow(8))
    _, batches, table = go_on(tmp_path, flow(16), caplog)
    assert flat(batches)[:24] == list(range(40, ROWS)) and "row 40 of 64" in table


def test_a_checkpoint_without_a_description(tmp_path, caplog, monkeypatch):
    def older(path):
        state = run_state_of(path)
        del state["description"]
        state["data"] = {key: state["data"][key] for key in ("flow", "passed", "skip")}
        return state

    run_state_of = run_state.read_run_state
    start(tmp_path, BatchData(source(), 8))
    monkeypatch.setattr(run_state, "read_run_state", older)
    trainer, batches, table = go_on(tmp_path, BatchData(source(), 8), caplog)
    assert flat(batches)[:24] == list(range(40, ROWS)) and not table and trainer.epoch_num == 2


def test_a_wrong_argument(tmp_path):
    with pytest.raises(ConfigError, match="must be 'accept' or None"):
        train(config(tmp_path), resume="auto", resume_changes="yes")
