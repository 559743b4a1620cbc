"""``flowtrain data``."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from flowtrain.cli import main

SCRIPT = """
from helper_of_the_script import OFFSET
from flowtrain.dataflow import BatchData, DataFromList, MapData, PrefetchData

def add(dp):
    return [dp[0] + OFFSET]

def get_data(count, workers=0, name="none"):
    ds = BatchData(MapData(DataFromList([[n] for n in range(count)]), add), 4)
    return PrefetchData(ds, num_proc=workers) if workers else ds

def broken():
    return BatchData(DataFromList([]), 4)

def number():
    return 5

ready = DataFromList([[1], [2]])
"""


@pytest.fixture
def script(tmp_path):
    (tmp_path / "helper_of_the_script.py").write_text("OFFSET = 100\n")
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path / "script.py"


def _run(*args):
    return CliRunner().invoke(main, ["data", *map(str, args)])


def test_a_function_with_arguments(script, tmp_path):
    result = _run(
        f"{script}:get_data", "-a", "count=200", "-a", "name=text", "-n", 5, "--speed", "--sheet", tmp_path / "s.html"
    )
    assert result.exit_code == 0, result.output
    assert "dp 0: is ndarray of shape (4,) with range [100, 103], dtype int64" in result.output
    assert "MapData(add)" in result.output and "TestDataSpeed: " in result.output
    assert "of the flow's time" in result.output.splitlines()[-1]
    assert (tmp_path / "s.html").exists()


def test_workers_and_a_consumer(script):
    result = _run(f"{script}:get_data", "-a", "count=4000", "-a", "workers=1", "-n", 5, "--consumer-ms", 10, "-p", 0)
    assert result.exit_code == 0, result.output
    assert "1 worker" in result.output and "The consumer is the limit" in result.output
    assert "datapoint 0<" not in result.output


def test_a_flow_that_is_there_already(script):
    result = _run(f"{script}:ready", "-n", 2, "-p", 2)
    assert result.exit_code == 0 and "datapoint 1<2" in result.output


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("{}:get_dat", [], "has no 'get_dat'. Did you mean 'get_data'?"),
        ("{}:get_data", [], "missing 1 required positional argument: 'count'. It takes: count"),
        ("{}:get_data", ["-a", "coutn=3"], "'coutn'. It takes: count"),
        ("{}:get_data", ["-a", "count"], "expected name=value, got 'count'"),
        ("{}:broken", [], "empty list"),
        ("{}:number", [], "must be a function that returns a dataflow; it gave int"),
        ("{}", [], "expected FILE.py:name"),
        ("nowhere.py:x", [], "there is no file nowhere.py"),
    ],
)
def test_mistakes_get_one_line(script, target, options, message):
    result = _run(target.format(script), *options)
    assert result.exit_code == 1
    assert message in result.output and "Traceback" not in result.output


def test_the_list_of_commands():
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0 and "data" in result.output
    assert CliRunner().invoke(main, ["nothing"]).exit_code == 2
