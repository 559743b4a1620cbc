from pathlib import Path

from click.testing import CliRunner

DIGITS = Path(__file__).parents[1] / "dataflow/datasets/data/mnist"


def test_lenet_trains_on_two_hundred_digits(load, tmp_path):
    script = load("mnist", "train")
    arguments = ["--data", str(DIGITS), "--epochs", "2", "--batch", "20", "--log-dir", str(tmp_path / "run")]
    result = CliRunner().invoke(script.main, arguments)
    assert result.exit_code == 0, result.output + str(result.exception)
    assert "test accuracy" in result.output
    assert (tmp_path / "run/checkpoints/best").is_dir()


def test_a_gan_shows_its_digits(load, tmp_path):
    script = load("gan", "train")
    arguments = ["--data", str(DIGITS), "--epochs", "1", "--batch", "50", "--log-dir", str(tmp_path / "run")]
    result = CliRunner().invoke(script.main, arguments)
    assert result.exit_code == 0, result.output + str(result.exception)
    assert (tmp_path / "run/digits0001.png").stat().st_size > 1000
