"""What a report says of a run is what the run has logged."""

import base64
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from flowtrain.callbacks import DataProfile, ModelSaver
from flowtrain.cli import main
from flowtrain.monitors import JSONLMonitor, TensorBoardMonitor, default_monitors
from flowtrain.monitors.monitor import Monitors
from flowtrain.report import RunFolder, find_runs, runs_table, watch, write_report
from flowtrain.report.content import _thinned, content_of
from flowtrain.report.events import read_events
from flowtrain.report.folder import best, higher_is_better
from flowtrain.training import train
from flowtrain.utils.errors import ConfigError

from ..training.helpers import config
from .helpers import STEPS, a_run


def cli(*args):
    return CliRunner().invoke(main, [str(arg) for arg in args])


def test_event_files_without_tensorflow_are_what_was_logged(tmp_path):
    monitors = Monitors([TensorBoardMonitor()], tmp_path)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 8, 9, 3), np.uint8)
    for step in range(1, 41):
        monitors.put_scalar("cost", step / 4, step)
        monitors.put_image("made", pictures, step)
        monitors.put_histogram("weights", np.arange(100.0), step)
    monitors.close()
    found = read_events(tmp_path / "tensorboard", most=10)
    assert [(step, value) for step, value, _ in found.scalars["cost"]] == [(s, s / 4) for s in range(1, 41)]
    steps = [picture.step for picture in found.pictures["made/1"]]
    assert (len(steps), steps[0], steps[-1]) == (10, 1, 40)
    decoded = cv2.imdecode(np.frombuffer(found.pictures["made/1"][3].data, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(decoded[..., ::-1], pictures[1])
    histogram = found.histograms["weights"][0]
    counts, edges = np.histogram(np.arange(100.0), len(histogram.counts))
    np.testing.assert_array_equal(histogram.counts, counts)
    np.testing.assert_allclose(histogram.edges, edges)


def test_a_file_that_is_cut_anywhere_is_read_as_far_as_it_is_whole(tmp_path):
    a_run(tmp_path / "run")
    (path,) = (tmp_path / "run" / "tensorboard").iterdir()
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for size in [0, 1, 11, 12, *map(int, rng.integers(13, len(whole), 10))]:
        path.write_bytes(whole[:size])
        assert len(read_events(path.parent, 5).scalars.get("cost", ())) <= 6
    path.write_bytes(whole[:200] + bytes(rng.integers(0, 256, 400, np.uint8)))
    read_events(path.parent, 5)


def test_a_trained_run_is_read_back(tmp_path):
    trainer = train(
        config(tmp_path / "run", monitors=default_monitors(), callbacks=[ModelSaver(), DataProfile(num=4)], max_epoch=3)
    )
    run = RunFolder(tmp_path / "run")
    assert (run.status, run.epoch, run.step) == ("finished", 3, 36)
    assert run.history == {name: list(values) for name, values in trainer.history.items()}
    assert [found.step for found in run.checkpoints] == [12, 24, 36]
    assert run.versions["packages"]["tensorflow"].startswith("2.21")
    assert "Points" in run.profile["stages"][0]["name"] and run.profile["verdict"]
    (told,) = content_of([tmp_path / "run"])["runs"]
    assert told["checkpoints"][1]["values"]["cost"] == dict(trainer.history["cost"])[24]
    assert len(told["curves"]["cost"]["t"]) == 3 and told["epoch_times"][0]["seconds"]["steps"] > 0


def test_the_profile_leaves_the_data_alone(tmp_path):
    plain = train(config(tmp_path / "plain"))
    looked = train(config(tmp_path / "looked", callbacks=[DataProfile(num=5)]))
    assert plain.history["cost"] == looked.history["cost"]


def test_what_differs_and_what_was_reached(tmp_path):
    runs = [a_run(tmp_path / "x" / "one", pull=0.3), a_run(tmp_path / "y" / "one", pull=0.5, epochs=4)]
    content = content_of(runs)
    assert [run["name"] for run in content["runs"]] == ["x/one", "y/one"]
    assert {row["name"] for row in content["differences"]} == {"rate", "command"}
    first = content["runs"][0]["results"]
    assert first["validation_cost"]["best_step"] == 3 * STEPS and first["validation_accuracy"]["best_step"] == 6 * STEPS
    assert content["panels"][0] == {"title": "cost", "names": ["cost", "validation_cost"]}
    json.dumps(content, allow_nan=False)


def test_values_that_are_no_numbers_are_gaps(tmp_path):
    monitors = Monitors([JSONLMonitor()], tmp_path)
    for step, value in enumerate([1.0, float("nan"), float("inf"), 0.5]):
        monitors.put_scalar("cost", value, step)
    monitors.close()
    (run,) = content_of([tmp_path])["runs"]
    assert run["curves"]["cost"]["y"] == [1.0, None, None, 0.5]
    assert run["results"]["cost"]["best"] == 0.5


@pytest.mark.parametrize("made", [False, True])
def test_watching_what_is_no_run_is_an_error_that_names_it(tmp_path, made):
    folder = tmp_path / "run"
    if made:
        folder.mkdir()
    with pytest.raises(ConfigError, match=f"{folder} is no folder of a run"):
        watch([folder], tmp_path / "report.html")


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.integers(1, 400))
@settings(max_examples=20)
def test_a_thinned_curve_keeps_its_ends_and_peaks(values, repeats):
    pairs = list(enumerate(values * repeats))
    kept, _ = _thinned(pairs)
    assert len(kept) <= max(len(pairs), 4002) and set(kept) <= set(pairs) and kept == sorted(kept)
    assert kept[0] == pairs[0] and kept[-1] == pairs[-1]
    for extreme in (min, max):
        assert extreme(value for _, value in kept) == extreme(value for _, value in pairs)


@pytest.mark.parametrize("gap", [float("nan"), float("inf"), -float("inf")])
def test_a_thinned_curve_keeps_peaks_and_gaps_beside_each_other(gap):
    pairs = [
        (step, gap if step % 3 == 0 else float(step % 7)) for step in range(12_000)
    ]  # each stretch begins with one
    pairs[4001], pairs[8003] = (4001, 1e9), (8003, -1e9)
    kept, every = _thinned(pairs)
    assert every == 6 and {(4001, 1e9), (8003, -1e9)} <= set(kept) and len(kept) <= 3 * 2000 + 2
    gaps = [step for step, value in kept if not np.isfinite(value)]
    assert len(gaps) == 2000
    diverged = [(step, gap) for step in range(12_000)]
    assert {value == gap or value != value for _, value in _thinned(diverged)[0]} == {True}


@pytest.mark.parametrize(
    ("name", "higher"),
    [("validation_accuracy", True), ("val_psnr", True), ("mIoU", True), ("validation_error", False), ("cost", False)]
    + [("f1_score", True), ("map_loss", True), ("accuracy_error", False), ("capture", False), ("day_ssim", True)],
)
def test_which_way_is_better(name, higher):
    assert higher_is_better(name) is higher
    assert best(name, [(1, 1.0), (2, float("nan")), (3, 2.0)]) == ((3, 2.0) if higher else (1, 1.0))


def test_pictures_in_the_folder_and_large_ones(tmp_path):
    a_run(tmp_path)
    for number in (1, 2, 10):
        cv2.imwrite(str(tmp_path / f"export{number:04d}.jpg"), np.full((900, 1800, 3), 20 * number, np.uint8))
    (run,) = content_of([tmp_path])["runs"]
    (own,) = [entry for entry in run["pictures"] if entry["unit"] == "epoch"]
    assert (own["name"], own["at"]) == ("export", [1, 2, 10])
    kind, data = own["src"][0].split(",")
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert kind == "data:image/jpeg;base64" and picture.shape == (384, 768, 3)


def test_the_table_of_runs(tmp_path):
    a_run(tmp_path / "good", pull=0.5)
    a_run(tmp_path / "deep" / "bad", epochs=2, pull=0.1, failure=ValueError("no such colour"))
    killed = a_run(tmp_path / "killed", epochs=3)
    (killed / "ended.json").unlink()
    assert [str(path.relative_to(tmp_path)) for path in find_runs(tmp_path)] == ["deep/bad", "good", "killed"]
    text = runs_table(tmp_path)
    assert "highest validation_accuracy" in text and "least cost" in text
    assert "deep/bad: ValueError: no such colour" in text
    order = [line.split()[0] for line in runs_table(tmp_path, sort="validation_accuracy").splitlines()[2:5]]
    assert order == ["good", "killed", "deep/bad"]
    result = cli("runs", tmp_path, "--sort", "epoch", "--reverse", "-m", "cost")
    assert result.exit_code == 0 and "validation" not in result.output
    assert [line.split()[1] for line in result.output.splitlines()[2:5]] == ["finished", "killed", "failed"]
    rows = json.loads(cli("runs", tmp_path, "--json").output)
    assert rows[0]["status"] == "failed" and rows[0]["best"]["cost"] == pytest.approx(np.exp(-0.2))


def test_the_json_of_runs_is_json_where_a_scalar_is_not_finite(tmp_path):
    monitors = Monitors([JSONLMonitor()], tmp_path)
    for step, value in enumerate([float("nan"), float("inf"), -float("inf")]):
        monitors.put_scalar(f"cost_{step}", value, step)
    monitors.close()
    (row,) = json.loads(cli("runs", tmp_path, "--json").output, parse_constant=pytest.fail)
    assert row["best"] == {"cost_0": "nan", "cost_1": "inf", "cost_2": "-inf"}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["runs", "{}/nothing"], "there is no folder"),
        (["runs", "{}/empty"], "there is no run in"),
        (["runs", "{}", "--sort", "validation_cst"], "Did you mean 'validation_cost'"),
        (["runs", "{}", "-m", "csot"], "Did you mean 'cost'?"),
        (["report", "{}"], "is no folder of a run"),
        (["report", "{}", "-o", "x.html"], "These are: "),
    ],
)
def test_mistakes_get_one_line(tmp_path, args, message):
    a_run(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    result = cli(*[arg.format(tmp_path) for arg in args])
    assert result.exit_code == 1 and message in result.output and "Traceback" not in result.output


def test_a_report_of_the_command_line_and_of_a_function(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    a_run(tmp_path / "run")
    (tmp_path / "flow.py").write_text(
        "from flowtrain import *\n\n"
        "def get_data(count):\n    return BatchData(DataFromList([[n] for n in range(count)]), 2)\n"
    )
    result = cli("report", "run", "-o", "sub/report.html", "--data", "flow.py:get_data", "-a", "count=8")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "sub" / "report.html").read_text()
    assert "BatchData(2)" in page and page.count("<script") == 3 and 'src="http' not in page
    with pytest.raises(ConfigError, match="at least one run"):
        write_report([])


def test_names_cannot_end_the_script(tmp_path):
    a_run(tmp_path / "a", failure=ValueError("</script><script>alert(1)</script>"), note_of="<b>@content@</b>")
    page = write_report([tmp_path / "a"], tmp_path / "r.html").read_text()
    assert "<script>alert" not in page and page.count("</script>") == 3


def test_reading_runs_loads_no_tensorflow(tmp_path):
    a_run(tmp_path / "run")
    code = (
        "import sys\nfrom flowtrain.report import write_report, runs_table\n"
        f"write_report([{str(tmp_path / 'run')!r}], {str(tmp_path / 'r.html')!r}); runs_table({str(tmp_path)!r})\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('tensorflow', 'keras')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=800, check=True)
    assert done.stdout.strip() == "[]"
