import json
from pathlib import Path

import optuna
from click.testing import CliRunner

DIGITS = str(Path(__file__).parents[1] / "dataflow/datasets/data/mnist")


def invoke(script, *arguments):
    return CliRunner().invoke(script.main, [*map(str, arguments), "--data", DIGITS])


def test_flags_come_before_the_file_and_the_file_before_defaults(load, tmp_path):
    script = load("sweep", "sweep")
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"rate": 0.01, "units": 8, "epochs": 1}))
    result = invoke(script, "train", "--config", file, "--units", 4, "--batch", 20, "--log-dir", tmp_path / "run")
    assert result.exit_code == 0, result.output + str(result.exception)
    assert "Hyper(rate=0.01, units=4, dropout=0.2, batch=20): validation error 0." in result.output


def test_a_name_in_the_file_that_no_option_has(load, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("rate: 0.01\nunit: 8\n")
    result = invoke(load("sweep", "sweep"), "train", "--config", file)
    assert result.exit_code == 2 and "holds unit; it may set batch, data, dropout" in result.output


def test_a_search_goes_on_where_it_was(load, tmp_path):
    script, study = load("sweep", "sweep"), f"sqlite:///{tmp_path}/study.db"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    options = ["--study", study, "--epochs", 1, "--log-dir", tmp_path / "runs"]
    for trials in (1, 2, 2):
        result = invoke(script, "search", "--trials", trials, *options)
        assert result.exit_code == 0, result.output + str(result.exception)
        assert f"{trials} trials, 0 pruned; best is trial " in result.output
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["trial-0000", "trial-0001"]
