"""What the monitors write, read back; and that a resumed run's logs are those of an undisturbed one."""

import csv
import json
import logging
import math
import os
import shutil

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowtrain.monitors import (
    ConsoleMonitor,
    CSVMonitor,
    CurvesMonitor,
    JSONLMonitor,
    Monitor,
    TimelineMonitor,
    plot_history,
    read_jsonl,
)
from flowtrain.monitors.monitor import Monitors
from flowtrain.utils import FlowtrainError

from ..full_disk import files_of_at_most


def log(monitors, steps, names=("cost", "accuracy")):
    for step in steps:
        for number, name in enumerate(names):
            monitors.put_scalar(name, math.sin(step) / (number + 3), step)
        if step % 4 == 0:
            monitors.put_scalar(f"late_{step // 8}", float(step), step)
        monitors.put_event("epoch", {"epoch": step}, step)
        monitors.flush()


def test_history_and_latest():
    monitors = Monitors([])
    heard = []
    monitors.listen(lambda *args: heard.append(args))
    monitors.put_scalar("cost", np.float32(0.5), step=1)
    monitors.put_scalar("cost", 0.25, step=2)
    assert monitors.history == {"cost": [(1, 0.5), (2, 0.25)]}
    assert monitors.latest("cost") == 0.25
    assert heard == [("cost", 0.5, 1), ("cost", 0.25, 2)]
    with pytest.raises(FlowtrainError, match="'cost'"):
        monitors.latest("costs")


def test_a_failing_monitor_warns_once_and_stops_nothing(tmp_path, caplog):
    class Broken(Monitor):
        calls = 0

        def put_scalar(self, name, value, step):
            Broken.calls += 1
            raise TypeError("no such unit")

    monitors = Monitors([Broken(), JSONLMonitor()], tmp_path)
    log(monitors, range(1, 4))
    monitors.close()
    assert Broken.calls == 1
    assert len([r for r in caplog.records if "no such unit" in r.getMessage()]) == 1
    assert [step for step, _ in read_jsonl(tmp_path)["cost"]] == [1, 2, 3]


def test_a_monitor_that_had_failed_works_in_the_resumed_run(tmp_path, caplog):
    class Full(JSONLMonitor):
        name = "JSONLMonitor"

        def flush(self):
            raise OSError("disk is full")

    first = Monitors([Full()], tmp_path)
    log(first, [1])
    state = first.state_dict()
    second = Monitors([JSONLMonitor()], tmp_path)
    second.load_state_dict(state)
    log(second, [2])
    second.close()
    assert len(caplog.records) == 1
    assert list(read_jsonl(tmp_path)["cost"]) == [(1, math.sin(1) / 3), (2, math.sin(2) / 3)]
    assert second.history["cost"] == [(1, math.sin(1) / 3), (2, math.sin(2) / 3)]


def test_what_is_no_monitor_is_refused():
    with pytest.raises(FlowtrainError, match="Monitor objects"):
        Monitors([JSONLMonitor])


def test_two_that_write_one_file_are_refused(tmp_path):
    with pytest.raises(FlowtrainError, match=r"'metrics\.jsonl'"):
        Monitors([JSONLMonitor(), CSVMonitor(), JSONLMonitor()], tmp_path)
    Monitors([JSONLMonitor(), JSONLMonitor("other.jsonl")], tmp_path)


@pytest.mark.parametrize("kind,filename", [(JSONLMonitor, "metrics.jsonl"), (CSVMonitor, "metrics.csv")])
@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 6)), max_size=4))
def test_a_log_with_resumes_equals_an_undisturbed_one(tmp_path_factory, kind, filename, cuts):
    whole, broken = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("broken")
    undisturbed = Monitors([kind()], whole)
    log(undisturbed, range(1, 21))
    undisturbed.close()

    step, state, runs = 0, None, []
    for saved, lost in [*sorted(cuts), (20, 0)]:
        run = Monitors([kind()], broken)
        runs.append(run)
        if state is not None:
            run.load_state_dict(json.loads(json.dumps(state)))
        saved = max(saved, step)
        log(run, range(step + 1, saved + 1))
        state, step = run.state_dict(), saved
        log(run, range(saved + 1, min(saved + lost, 20) + 1))  # logged, then killed: no close
    assert run.history == undisturbed.history
    assert (broken / filename).read_bytes() == (whole / filename).read_bytes()
    for run in runs:
        run.close()


FILES = [(JSONLMonitor, "metrics.jsonl"), (CSVMonitor, "metrics.csv")]


def undisturbed(folder, kind):
    folder.mkdir()
    monitors = Monitors([kind()], folder)
    log(monitors, range(1, 13))
    monitors.close()
    return monitors


@pytest.mark.parametrize("kind,filename", FILES)
@pytest.mark.parametrize("more", [0, 3, 100])
@pytest.mark.parametrize("resumed", [False, True])
def test_after_a_full_disk_nothing_is_missing(request, tmp_path, caplog, kind, filename, more, resumed):
    whole = undisturbed(tmp_path / "whole", kind)
    monitors = Monitors([kind()], tmp_path)
    log(monitors, range(1, 4))
    with files_of_at_most((tmp_path / filename).stat().st_size + more):
        log(monitors, range(4, 9))
        state = monitors.state_dict()
    if resumed:
        killed, monitors = monitors, Monitors([kind()], tmp_path)
        request.addfinalizer(killed.close)
        monitors.load_state_dict(json.loads(json.dumps(state)))
    log(monitors, range(9, 13))
    monitors.close()
    assert (tmp_path / filename).read_bytes() == (tmp_path / "whole" / filename).read_bytes()
    assert monitors.history == whole.history
    assert caplog.text.count("is tried again at the end of each epoch") == 1
    assert resumed or "works again" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == [filename, "whole"]  # nothing was set aside


def test_after_a_full_disk_the_times_of_all_steps_are_there(tmp_path):
    monitors = Monitors([TimelineMonitor()], tmp_path)
    log(monitors, range(1, 4))
    with files_of_at_most((tmp_path / "timeline.jsonl").stat().st_size):
        log(monitors, range(4, 5))
    monitors.close()
    lines = [json.loads(line) for line in (tmp_path / "timeline.jsonl").read_text().splitlines()]
    assert [(line["step"], "epoch" in line) for line in lines] == [(n, at) for n in range(1, 5) for at in (False, True)]


@pytest.mark.parametrize("kind,filename", FILES)
@pytest.mark.parametrize("what", ["file", "folder", "replaced", "cut"])
def test_what_somebody_deletes_in_mid_run_is_written_anew(tmp_path, caplog, kind, filename, what):
    undisturbed(tmp_path / "whole", kind)
    folder = tmp_path / "run"
    folder.mkdir()
    monitors = Monitors([kind()], folder)
    log(monitors, range(1, 8))
    if what == "folder":
        shutil.rmtree(folder)
    elif what == "cut":
        os.truncate(folder / filename, 30)
    else:
        (folder / filename).unlink()
        if what == "replaced":
            (folder / filename).write_text("other")
    log(monitors, range(8, 13))
    monitors.close()
    assert (folder / filename).read_bytes() == (tmp_path / "whole" / filename).read_bytes()
    assert "written anew" in caplog.text


@pytest.mark.parametrize("kind,filename", FILES)
@pytest.mark.parametrize("left", [0, 25, 75, -1])
def test_a_log_that_was_cut_in_mid_line_is_whole_after_a_resume(tmp_path, caplog, kind, filename, left):
    undisturbed(tmp_path / "whole", kind)
    monitors = Monitors([kind()], tmp_path)
    log(monitors, range(1, 8))
    state = monitors.state_dict()
    size = (tmp_path / filename).stat().st_size
    os.truncate(tmp_path / filename, left if left >= 0 else size + left)
    again = Monitors([kind()], tmp_path)
    again.load_state_dict(json.loads(json.dumps(state)))
    log(again, range(8, 13))
    again.close()
    assert (tmp_path / filename).read_bytes() == (tmp_path / "whole" / filename).read_bytes()
    assert "written anew" in caplog.text
    monitors.close()


def test_a_monitor_whose_server_was_away_gets_all_numbers(tmp_path, caplog):
    class Server(Monitor):
        away, got = False, []

        def put_scalar(self, name, value, step):
            if self.away:
                raise ConnectionError("no route to host")
            self.got.append((name, step))

    server = Server()
    monitors = Monitors([server], tmp_path)
    for step in range(1, 9):
        server.away = 3 <= step < 6
        log(monitors, [step], names=("cost",))
    assert server.got == [
        pair for step in range(1, 9) for pair in [("cost", step), *([(f"late_{step // 8}", step)] * (step % 4 == 0))]
    ]
    assert caplog.text.count("no route to host") == 1


@pytest.mark.parametrize("kind,filename", [(JSONLMonitor, "metrics.jsonl"), (CSVMonitor, "metrics.csv")])
def test_the_log_of_a_run_without_checkpoint_is_set_aside(tmp_path, kind, filename):
    for _ in range(3):
        monitors = Monitors([kind()], tmp_path)
        log(monitors, [1])
        monitors.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [filename, filename + ".old", filename + ".old1"]


def test_jsonl_is_read_back_exactly(tmp_path):
    monitors = Monitors([JSONLMonitor()], tmp_path)
    values = [0.1 + 0.2, 1e-300, math.inf, -math.inf, math.nan]
    for step, value in enumerate(values):
        monitors.put_scalar("x", value, step)
        monitors.put_scalar("step", 1.0, step)
    monitors.flush()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 9, "x": 0.')  # a line that is cut short
    history = read_jsonl(tmp_path / "metrics.jsonl")
    np.testing.assert_array_equal([value for _, value in history["x"]], values)
    assert history["scalar/step"][0] == (0, 1.0)
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines()[:-1]:
        json.loads(line, parse_constant=pytest.fail)
    monitors.close()


def test_jsonl_goes_on_after_close(tmp_path):
    monitors = Monitors([JSONLMonitor()], tmp_path)
    log(monitors, [1])
    monitors.close()
    log(monitors, [2])
    monitors.close()
    assert [step for step, _ in read_jsonl(tmp_path)["cost"]] == [1, 2]


def test_csv_has_a_column_per_scalar(tmp_path):
    monitors = Monitors([CSVMonitor()], tmp_path)
    log(monitors, range(1, 5))
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    assert rows[0]["late_0"] == ""
    assert float(rows[3]["late_0"]) == 4.0
    assert float(rows[1]["cost"]) == math.sin(2) / 3


def test_the_console_shows_now_before_and_change(caplog):
    monitors = Monitors([ConsoleMonitor(exclude=["secret*"], table_every=0)])
    with caplog.at_level(logging.INFO, "flowtrain"):
        for step, value in ((10, 2.0), (20, 1.0)):
            monitors.put_scalar("cost", value, step)
            monitors.put_scalar("secret/x", value, step)
            monitors.put_event("epoch", {"epoch": step // 10}, step)
    shown = caplog.records[-1].getMessage()
    for words in ("epoch 2, step 20", "cost", "1", "2", "-50.0 %"):
        assert words in shown
    assert "secret" not in shown


def test_short_epochs_get_a_line_each_between_two_tables(caplog):
    monitors = Monitors([ConsoleMonitor(table_every=1000)])
    with caplog.at_level(logging.INFO, "flowtrain"):
        for step, value in ((1, 2.0), (2, 1.0), (3, 1.5)):
            monitors.put_scalar("cost", value, step)
            monitors.put_scalar("rate", 0.5, step)
            monitors.put_event("epoch", {"epoch": step}, step)
    table, *lines = [record.getMessage() for record in caplog.records]
    assert len(table.splitlines()) > 3
    assert lines == ["epoch 2, step 2: cost 1 (-50.0 %), rate 0.5", "epoch 3, step 3: cost 1.5 (+50.0 %), rate 0.5"]


def test_curves_are_drawn_at_the_end(tmp_path):
    monitors = Monitors([CurvesMonitor()], tmp_path)
    log(monitors, range(1, 6), names=("cost", "validation_cost", "accuracy"))
    monitors.close()
    picture = cv2.imread(str(tmp_path / "curves.png"))
    assert picture.std() > 5
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]


def test_a_history_is_plotted_from_its_file_too(tmp_path):
    monitors = Monitors([JSONLMonitor()], tmp_path)
    log(monitors, range(1, 6))
    monitors.close()
    assert plot_history(read_jsonl(tmp_path), tmp_path / "again.svg").stat().st_size > 1000


def test_pictures_are_checked_and_made_uint8():
    seen = []

    class Keep(Monitor):
        def put_image(self, name, image, step):
            seen.append(image)

    monitors = Monitors([Keep()])
    monitors.put_image("a", np.full((4, 5, 3), 0.5), 1)
    monitors.put_image("b", np.full((2, 4, 5, 1), 7, np.uint8), 1)
    monitors.put_image("c", np.array([[[np.nan], [2.0], [-1.0]]]), 1)
    assert [image.shape for image in seen] == [(1, 4, 5, 3), (2, 4, 5, 1), (1, 1, 3, 1)]
    assert [image.dtype for image in seen] == [np.uint8] * 3
    assert seen[0].max() == 128 and seen[2].ravel().tolist() == [0, 255, 0]
    with pytest.raises(FlowtrainError, match=r"\(4, 5\)"):
        monitors.put_image("d", np.zeros((4, 5)), 1)


def test_the_timeline_of_a_resumed_run_has_each_step_once(tmp_path):
    first = Monitors([TimelineMonitor()], tmp_path)
    log(first, range(1, 4))
    state = first.state_dict()
    log(first, range(4, 6))
    first.close()
    second = Monitors([TimelineMonitor()], tmp_path)
    second.load_state_dict(state)
    log(second, range(4, 7))
    second.close()
    lines = [json.loads(line) for line in (tmp_path / "timeline.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "epoch" not in line] == [1, 2, 3, 4, 5, 6]
    assert [line["epoch"] for line in lines if "epoch" in line] == [1, 2, 3, 4, 5, 6]
