"""What scripts take from the command line's kit: errors of one line, paths checked before the work, pictures."""

from __future__ import annotations

import subprocess
import sys

import click
import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from flowtrain.cli.options import PICTURES, Group, NewPath, write_picture
from flowtrain.utils.errors import ConfigError


@click.group(cls=Group)
def main():
    pass


@main.command()
@click.argument("target", type=NewPath(".png", ".jpg", replace=False))
@click.option("--fail", default="")
def work(target, fail):
    if fail == "own":
        raise ConfigError("two\n  lines") from KeyError("cause")
    if fail == "file":
        (target.parent / "nothing").read_text()
    if fail == "bug":
        raise ZeroDivisionError
    click.echo(f"worked on {target.name}")


def _run(*arguments):
    return CliRunner().invoke(main, ["work", *map(str, arguments)])


def test_errors_are_one_line_and_exit_2(tmp_path):
    result = _run(tmp_path / "a.png", "--fail", "own")
    assert result.exit_code == 2 and result.output == "Error: two lines (KeyError: 'cause')\n"
    assert "No such file" in (result := _run(tmp_path / "a.png", "--fail", "file")).output and result.exit_code == 2
    assert isinstance(_run(tmp_path / "a.png", "--fail", "bug").exception, ZeroDivisionError)


def test_paths_are_refused_before_the_work(tmp_path):
    (tmp_path / "old.png").write_bytes(b"old")
    assert _run(tmp_path / "New.PNG").output == "worked on New.PNG\n"
    for path, said in (
        ("a.gif", "ends in none of .png, .jpg"),
        ("nothing/a.png", "does not exist: make it first"),
        ("old.png", "exists: choose another path"),
    ):
        result = _run(tmp_path / path)
        assert result.exit_code == 2 and said in " ".join(result.output.split()) and "worked" not in result.output


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 1), (9, 7, 3)])
def test_pictures_are_written_as_they_are(tmp_path, shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    for suffix in (".png", ".bmp", ".tif"):
        write_picture(tmp_path / f"a{suffix}", picture)
        read = cv2.imread(str(tmp_path / f"a{suffix}"), cv2.IMREAD_UNCHANGED)
        read = cv2.cvtColor(read, cv2.COLOR_BGR2RGB) if read.ndim == 3 else read
        np.testing.assert_array_equal(read, picture.squeeze())
    for path, given in (("a.png", picture / 255), ("a.png", np.zeros((2, 2, 2), np.uint8)), ("a.foo", picture)):
        with pytest.raises(ConfigError, match=r"uint8 \(H, W\)|ends in"):
            write_picture(tmp_path / path, given)
    assert {path.suffix for path in tmp_path.iterdir()} == {".png", ".bmp", ".tif"} <= set(PICTURES)


def test_the_package_is_a_command_too():
    done = subprocess.run([sys.executable, "-m", "flowtrain", "--help"], capture_output=True, text=True, timeout=800)
    assert done.returncode == 0 and done.stdout.startswith("Usage: flowtrain [OPTIONS] COMMAND")
    wrong = subprocess.run([sys.executable, "-m", "flowtrain", "reprot"], capture_output=True, text=True, timeout=800)
    assert wrong.returncode == 2 and "No such command 'reprot'. Did you mean 'report'" in wrong.stderr
