"""What every example refuses: in one line, with exit code 2, before anything is made."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner

import flowtrain as ft
from flowtrain.cli.options import write_picture

ADDED = ["--train-tfrecords", "one.tfrecords"]
DIGITS = [("mnist", "train", []), ("gan", "train", []), ("tf_summary", "train", []), ("tf_summary", "saving", ["new"])]
REFUSED = [
    *((*script, [*given, "--data", "typo"], "'typo' does not exist") for *script, given in DIGITS),
    *((*script, [*given, "--data", "empty"], "is not in empty") for *script, given in DIGITS),
    *((*script, [*given, "--epochs", "0"], "0 is not in the range") for *script, given in DIGITS[:3]),
    *((*script, [*given, "--batch", "-1"], "-1 is not in the range") for *script, given in DIGITS[:3]),
    ("colorize", "train", [], "say what to train on"),
    ("colorize", "train", ["--data", "typo"], "'typo' does not exist"),
    ("colorize", "train", ["--demo", "--epochs", "0"], "0 is not in the range"),
    ("colorize", "train", ["--demo", "--batch", "0"], "0 is not in the range"),
    ("colorize", "train", ["--data", "empty"], "Error: "),
    ("colorize", "train", ["--data", "texts"], "none of the 1 files is a whole picture"),
    ("colorize", "predict", ["empty", "picture.png", "a.foo"], "'a.foo' ends in none of .png"),
    ("colorize", "predict", ["empty", "picture.png", "a.png"], "Error: "),
    ("colorize", "predict", ["empty", "texts/a.png", "a.png"], "is not a picture"),
    ("colorize", "predict", ["empty", "picture.png", "nothing/a.png"], "does not exist: make it first"),
    ("denoise", "denoise", ["train", "typo"], "'typo' does not exist"),
    ("denoise", "denoise", ["train", "empty"], "no picture in empty"),
    ("denoise", "denoise", ["train", "texts"], "texts/a.png is not a picture"),
    ("denoise", "denoise", ["train", "tiny"], "too few for a batch"),
    ("denoise", "denoise", ["train", "photos", "--batch", "2", "--valid", "texts"], "texts/a.png is not a picture"),
    ("denoise", "denoise", ["train", "photos", "--epochs", "0"], "0 is not in the range"),
    ("denoise", "denoise", ["train", "photos", "--level", "-5"], "-5.0 is not in the range"),
    ("denoise", "denoise", ["train", "photos", "--level", "nan"], "nan is no finite number"),
    ("denoise", "denoise", ["train", "photos", "--level", "300"], "sigma is 300; it is from 0 to 255"),
    ("denoise", "denoise", ["train", "photos", "--level", "1", "--level", "2"], "1 noises have 2 levels"),
    ("denoise", "denoise", ["train", "photos", "--learning-rate", "inf"], "inf is no finite number"),
    ("denoise", "denoise", ["train", "photos", "--batch", "2", "--optimizer", "AdamOptimizer"], "is called 'adam'"),
    ("denoise", "denoise", ["train", "photos", "--scales", "2"], "expected numbers above 0"),
    ("denoise", "denoise", ["train", "photos", "--scales", "0.001"], "too few for a batch"),
    ("denoise", "denoise", ["train", "photos", "--dataset", "full"], "no picture in photos/"),
    ("denoise", "denoise", ["evaluate", "empty", "photos"], "Error: "),
    ("denoise", "denoise", ["evaluate", "empty", "photos", "--fixed", "a"], "expected NAME=NUMBER"),
    ("denoise", "denoise", ["apply", "empty", "photos", "nothing/out"], "does not exist: make it first"),
    ("denoise", "denoise", ["show", "empty", "photos", "a.foo"], "'a.foo' ends in none of .png"),
    ("denoise", "denoise", ["show", "empty", "photos", "a.png", "--rows", "0"], "0 is not in the range"),
    ("denoise", "denoise", ["export", "empty", "picture.png"], "picture.png exists"),
    ("denoise", "denoise", ["bsds", "new", "--data", "empty"], "is not in empty"),
    ("landcover", "landcover", ["train", "typo"], "'typo' does not exist"),
    ("landcover", "landcover", ["train", "empty"], "empty holds neither"),
    ("landcover", "landcover", ["train", "texts/a.png"], "a raster is a .tif"),
    ("landcover", "landcover", ["train", "small.npy"], "has no patch of 64"),
    ("landcover", "landcover", ["train", "scene.npy", "--epochs", "0"], "0 is not in the range"),
    ("landcover", "landcover", ["train", "scene.npy", "--learning-rate", "-1"], "-1.0 is not in the range"),
    ("landcover", "landcover", ["train", "scene.npy", "--valid", "empty"], "empty holds neither"),
    ("landcover", "landcover", ["map", "empty", "scene.npy", "a.foo"], "'a.foo' ends in none of .png"),
    ("landcover", "landcover", ["map", "empty", "scene.npy", "a.png"], "Error: "),
    ("landcover", "landcover", ["export", "empty", "picture.png"], "picture.png exists"),
    ("landcover", "landcover", ["make-patches", "small.npy", "new"], "has no patch of 64 x 64 pixels"),
    ("landcover", "landcover", ["make-patches", "scene.npy", "new", "--lower"], "has no patch of 64 x 64 pixels"),
    ("landcover", "landcover", ["make-patches", "scene.npy", "new", "--size", "500"], "has no patch of 500"),
    ("landcover", "landcover", ["make-patches", "scene.npy", "empty"], "empty exists"),
    ("noise2noise", "n2n", ["make-tfrecords", "empty", "a.tfrecords"], "no picture in empty"),
    ("noise2noise", "n2n", ["make-tfrecords", "tiny", "a.tfrecords"], "have a side below 256 pixels"),
    ("noise2noise", "n2n", ["make-tfrecords", "texts", "a.tfrecords"], "texts/a.png is not a picture"),
    ("noise2noise", "n2n", ["train", "--train-tfrecords", "typo"], "'typo' does not exist"),
    ("noise2noise", "n2n", ["train", "--train-tfrecords", "none.tfrecords"], "(none.tfrecords) holds no records"),
    ("noise2noise", "n2n", ["train", *ADDED, "--steps", "0"], "0 is not in the range"),
    ("noise2noise", "n2n", ["train", *ADDED, "--crop", "33"], "33 is no multiple of 32"),
    ("noise2noise", "n2n", ["train", *ADDED, "--crop", "-32"], "-32 is no multiple of 32"),
    ("noise2noise", "n2n", ["train", *ADDED, "--crop", "64"], "has 48 x 40 pixels, less than a crop of 64"),
    ("noise2noise", "n2n", ["train", *ADDED, "--loss-scale"], "--loss-scale is for --precision mixed"),
    ("noise2noise", "n2n", ["train", *ADDED, "--quick", "--loss-scale"], "--loss-scale is for --precision mixed"),
    ("noise2noise", "n2n", ["train", *ADDED, "--crop", "32", "--desc", "a/b"], "'--desc': 'a/b'"),
    ("noise2noise", "n2n", ["train", *ADDED, "--crop", "32", "--dataset-dir", "empty"], "no picture in empty"),
    ("noise2noise", "n2n", ["train", *ADDED, "--crop", "32", "--dataset-dir", "texts"], "texts/a.png is not"),
    ("noise2noise", "n2n", ["infer-image", "empty", "picture.png", "a.foo"], "'a.foo' ends in none of .png"),
    ("noise2noise", "n2n", ["freeze", "empty", "a.foo"], "'a.foo' ends in none of .pb"),
    ("noise2noise", "n2n", ["freeze", "empty", "a.pb", "--width", "33"], "--width is 33, no multiple of 32"),
    ("noise2noise", "mri", ["train", "typo.npz"], "'typo.npz' does not exist"),
    ("noise2noise", "mri", ["train", "scene.npy"], "no npz or pkl file of slices"),
    ("noise2noise", "mri", ["train", "uint16.npz"], "holds uint16 from 0 to 0"),
    ("noise2noise", "mri", ["train", "slices.npz"], "do not fill one batch of 16"),
    ("noise2noise", "mri", ["train", "slices.npz", "--epochs", "0"], "0 is not in the range"),
    ("noise2noise", "mri", ["train", "slices.npz", "--batch", "1", "--desc", "a/b"], "'--desc': 'a/b'"),
    ("noise2noise", "mri", ["export", "empty", "picture.png"], "picture.png exists"),
    ("noise2noise", "mri", ["validate", "empty", "slices.npz"], "Error: "),
]


def write_inputs() -> None:
    """What the commands are given, in the working folder."""
    for name in ("empty", "texts", "tiny", "photos"):
        Path(name).mkdir()
    rng = np.random.default_rng(0)
    write_picture("picture.png", np.zeros((8, 8, 3), np.uint8))
    write_picture("tiny/a.png", np.zeros((8, 8, 3), np.uint8))
    write_picture("photos/a.png", rng.integers(0, 256, (80, 80, 3), np.uint8))
    Path("texts/a.png").write_text("no picture")
    Path("none.tfrecords").write_bytes(b"")
    with ft.TFRecordWriter("one.tfrecords") as writer:
        writer.write(ft.encode_example({"shape": np.array([3, 48, 40]), "data": bytes(3 * 48 * 40)}))
    np.save("scene.npy", rng.integers(0, 4000, (128, 128, 4), np.uint16))
    np.save("small.npy", rng.integers(0, 4000, (20, 20, 4), np.uint16))
    np.savez("slices.npz", slices=np.zeros((2, 255, 255), np.uint8))
    np.savez("uint16.npz", slices=np.zeros((2, 255, 255), np.uint16))


@pytest.mark.parametrize(("example", "script", "arguments", "said"), REFUSED)
def test_errors_are_one_line(load, tmp_path, monkeypatch, example, script, arguments, said):
    monkeypatch.chdir(tmp_path)
    write_inputs()
    before = sorted(tmp_path.rglob("*"))
    result = CliRunner().invoke(load(example, script).main, arguments)
    assert result.exit_code == 2, result.output + str(result.exception)
    assert said in " ".join(result.output.strip().splitlines()[-1].split())
    made = [path for path in sorted(tmp_path.rglob("*")) if path not in before and path.suffix != ".ftindex"]
    assert "Traceback" not in result.output and not made


def test_two_noisy_pictures_of_one_name_are_not_written_over_each_other(load, tmp_path):
    denoise = load("denoise", "denoise")
    (tmp_path / "noisy" / "more").mkdir(parents=True)
    for name in ("a.png", "more/a.png"):
        write_picture(tmp_path / "noisy" / name, np.zeros((8, 8), np.uint8))
    inputs = keras.Input((None, None, 1), name="noisy")
    keras.Model(inputs, keras.layers.Identity(name="denoised")(inputs)).save(tmp_path / "same.keras")
    given = ["apply", str(tmp_path / "same.keras"), str(tmp_path / "noisy"), str(tmp_path / "out")]
    assert CliRunner().invoke(denoise.main, given).exit_code == 0
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png")) == [
        "a.png",
        "more/a.png",
    ]
    write_picture(tmp_path / "noisy" / "a.jpg", np.zeros((8, 8), np.uint8))
    result = CliRunner().invoke(denoise.main, [*given[:3], str(tmp_path / "again")])
    assert result.exit_code == 2 and "would both be written as a.png" in result.output
    assert not (tmp_path / "again").exists()
