import pytest

from flowtrain.callbacks import InferenceRunner, ModelSaver, ScalarStats
from flowtrain.training import train

from .helpers import Points, config


def test_a_dry_run_tries_everything_once_and_leaves_no_trace(tmp_path, caplog):
    flow, validation = Points(1000), Points(3)
    runner = InferenceRunner(validation, [ScalarStats("entropy")])
    made = config(tmp_path / "run", dataflow=flow, callbacks=[ModelSaver(), runner], max_epoch=100)
    with caplog.at_level("INFO", logger="flowtrain"):
        trainer = train(made, dry_run=True)
    assert trainer.global_step == 1
    assert not (tmp_path / "run").exists()
    table = [line.split("  ")[0] for line in caplog.text.splitlines() if "  ok  " in line]
    assert table == ["callbacks", "model", "one batch and one step", "one save", "one restore", "one validation batch"]
    assert "validation_entropy" in caplog.text and "1000 steps an epoch" in caplog.text
    assert validation.state_dict()["epoch"] == 0
    train(config(tmp_path / "run", dataflow=flow, callbacks=[runner], steps_per_epoch=2, max_epoch=1))


def test_a_dry_run_says_what_fails(tmp_path, caplog):
    wrong = InferenceRunner(Points(3), [ScalarStats("entropi")])
    with caplog.at_level("INFO", logger="flowtrain"), pytest.raises(KeyError, match="entropy"):
        train(config(tmp_path / "run", callbacks=[wrong]), dry_run=True)
    assert "one validation batch    FAILED" in caplog.text
