"""What every example refuses: in one line, with exit code 2, before anything is made."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from flowtrain.cli.options import write_picture

EMPTY, PICTURE = "{empty}", "{picture}"


@pytest.mark.parametrize(
    ("example", "script", "arguments", "said"),
    [
        ("mnist", "train", ["--data", "typo"], "'typo' does not exist"),
        ("gan", "train", ["--data", "typo"], "'typo' does not exist"),
        ("tf_summary", "train", ["--data", "typo"], "'typo' does not exist"),
        ("tf_summary", "saving", ["new", "--data", "typo"], "'typo' does not exist"),
        ("colorize", "train", ["--data", "typo"], "'typo' does not exist"),
        ("mnist", "train", ["--epochs", "0"], "0 is not in the range"),
        ("gan", "train", ["--epochs", "0"], "0 is not in the range"),
        ("tf_summary", "train", ["--epochs", "0"], "0 is not in the range"),
        ("colorize", "train", ["--demo", "--epochs", "0"], "0 is not in the range"),
        ("colorize", "train", ["--demo", "--batch", "0"], "0 is not in the range"),
        ("colorize", "train", ["--data", EMPTY], "Error: "),
        ("colorize", "predict", [EMPTY, PICTURE, "a.foo"], "'a.foo' ends in none of .png"),
        ("colorize", "predict", [EMPTY, PICTURE, "a.png"], "Error: "),
        ("colorize", "predict", [EMPTY, PICTURE, "nothing/a.png"], "does not exist: make it first"),
    ],
)
def test_errors_are_one_line(load, tmp_path, monkeypatch, example, script, arguments, said):
    (tmp_path / "empty").mkdir()
    write_picture(tmp_path / "picture.png", np.zeros((8, 8, 3), np.uint8))
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    given = [text.format(empty="empty", picture="picture.png") for text in arguments]
    result = CliRunner().invoke(load(example, script).main, given)
    assert result.exit_code == 2, result.output + str(result.exception)
    assert said in " ".join(result.output.strip().splitlines()[-1].split())
    assert "Traceback" not in result.output and sorted(tmp_path.rglob("*")) == before
