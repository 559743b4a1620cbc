"""`flowtrain launch --ray`: processes placed by Ray on two machines, which die, are killed, or lose their machine."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time

import click
import psutil
import pytest

import flowtrain.dataflow as df
from flowtrain.cli.on_ray import run_on_ray

from ...launched_lines import lines_by_process, workers_of

STORE = 80 << 20  # bytes
pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.usefixtures("cluster")]  # one for all


def launch(cluster, *args, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "flowtrain.cli", "launch", "--ray", cluster.address, *map(str, args)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


@pytest.fixture
def script(tmp_path):
    def written(text):
        path = tmp_path / "train.py"
        path.write_text("import json, os, signal, sys, time\n" + text)
        return path

    return written


def is_gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def all_gone(pids):
    pids = list(pids)
    deadline = time.monotonic() + 60
    while not all(map(is_gone, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return True


def pids_of(process, count):
    """By the number of the process."""
    found = {}
    while len(found) < count:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        if " pid " in line:
            mark, _, pid = line.split()
            found[int(mark.strip("[]"))] = int(pid)
    return found


PLACES = """
import beside
print(json.dumps({name: os.environ.get(name) for name in ("TF_CONFIG", "FLOWTRAIN_RESUME", "RAY_ADDRESS")}))
print(sys.argv[1:], beside.VALUE, os.path.realpath(".") == sys.argv[2])
print("end", end="")
"""


def test_each_process_knows_its_place_in_a_folder_that_is_shipped(cluster, script, tmp_path):
    script(PLACES)
    (tmp_path / "beside.py").write_text("VALUE = 17\n")
    process = launch(cluster, "-n", 2, "--spread", "--working-dir", tmp_path, "train.py", "--", "--rate", tmp_path)
    out, error = process.communicate()
    assert process.returncode == 0, error
    lines = lines_by_process(out, 2)
    given = [json.loads(own[0]) for own in lines]
    workers_of([one["TF_CONFIG"] for one in given])
    assert all(one["FLOWTRAIN_RESUME"] is None and one["RAY_ADDRESS"] == cluster.address for one in given)
    assert all(own[1:] == [f"['--rate', '{tmp_path}'] 17 False", "end"] for own in lines)


DEAF = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
open(f"pid{index}", "w").write(f"{os.getpid()} ")
while not all(os.path.exists(f"pid{i}") and open(f"pid{i}").read().endswith(" ") for i in range(3)):
    time.sleep(0.02)
if index == 1:
    sys.exit(7)
while True:
    time.sleep(60)
"""


def test_when_one_ends_all_end_with_its_status(script, tmp_path):
    output = io.BytesIO()
    command = [str(script(DEAF))]
    ended = run_on_ray(df.Ray(), command, 3, environment={}, folder=str(tmp_path), output=output)
    assert (ended.status, str(ended)) == (7, "process 1 ended with status 7"), output.getvalue()
    assert all_gone(int((tmp_path / f"pid{number}").read_text()) for number in range(3))


def test_one_process_needs_no_cluster_and_is_not_marked(script, tmp_path):
    output = io.BytesIO()
    path = script("print('TF_CONFIG' in os.environ, os.getcwd())")
    ended = run_on_ray(df.Ray(cpus=0.5), [str(path)], 1, environment={}, folder=str(tmp_path), output=output)
    assert ended.status == 0 and output.getvalue() == f"False {tmp_path}\n".encode()


def test_a_folder_that_the_machines_lack_is_told(script, tmp_path):
    with pytest.raises(click.ClickException, match=r"on .* there is no folder .*/absent\..*--working-dir"):
        run_on_ray(df.Ray(), [str(script(""))], 1, environment={}, folder=str(tmp_path / "absent"))


KILLED = """
index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
with open("log", "a") as file:
    file.write(os.environ["FLOWTRAIN_RESUME"] + " ")
while (started := open("log").read().count("auto")) % 2:
    time.sleep(0.02)
if started == 2 and index == 1:
    os.kill(os.getpid(), signal.SIGKILL)
if started == 4 and index == 0:
    os.kill(os.getppid(), signal.SIGKILL)
if started < 6:
    time.sleep(600)
"""


def test_all_are_started_again_after_a_process_or_an_actor_was_killed(cluster, script, tmp_path):
    process = launch(cluster, "-n", 2, "--restarts", 3, script(KILLED), cwd=tmp_path)
    _, error = process.communicate()
    assert process.returncode == 0, error
    first, second = error.index("process 1 was ended by SIGKILL"), error.index("process 0 was lost with its Ray actor")
    assert first < second and error.count("all are started again") == 2


COUNTED = """
print("pid", os.getpid(), flush=True)
with open(sys.argv[1], "a") as file:
    file.write(os.environ["FLOWTRAIN_RESUME"] + " ")
if open(sys.argv[1]).read().count("auto") <= 3:  # the first start
    time.sleep(600)
"""


def test_a_machine_is_removed_and_all_are_started_again_with_another(cluster, script, tmp_path):
    third = cluster.add_node(num_cpus=2, object_store_memory=STORE)
    path, log = script(COUNTED), tmp_path / "log"
    process = launch(cluster, "-n", 3, "--cpus", 2, "--spread", "--restarts", 1, path, "--", log)
    pids = pids_of(process, 3)
    while not log.exists() or log.read_text().count("auto") < 3:
        time.sleep(0.02)
    cluster.remove_node(third, allow_graceful=False)
    fourth = cluster.add_node(num_cpus=2, object_store_memory=STORE)
    _, error = process.communicate()
    cluster.remove_node(fourth)
    assert process.returncode == 0 and log.read_text().count("auto") == 6, error
    assert "was lost with its Ray actor" in error and all_gone(pids.values())


SAVING = """
def save(number, frame):
    time.sleep(0.5)
    print("saved", flush=True)
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
print("pid", os.getpid(), flush=True)
while True:
    time.sleep(60)
"""


def test_a_signal_reaches_all_and_nothing_is_started_again(cluster, script):
    process = launch(cluster, "-n", 2, "--restarts", 5, script(SAVING))
    pids = pids_of(process, 2)
    process.send_signal(signal.SIGTERM)
    out, error = process.communicate()
    assert process.returncode == 143 and sorted(out.splitlines()) == ["[0] saved", "[1] saved"]
    assert "ended by SIGTERM" in error and "started again" not in error
    assert all_gone(pids.values())


def test_they_end_with_the_launcher_whatever_ends_it(cluster, script):
    process = launch(cluster, "-n", 2, script(SAVING))
    pids = pids_of(process, 2)
    process.kill()
    process.communicate()
    assert all_gone(pids.values())


def test_what_cannot_be_placed_is_told_and_ended_by_a_signal(cluster, script):
    process = launch(cluster, "-n", 2, "--gpus", 3, script(""))
    assert process.stderr is not None
    said = process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate()
    assert "2 processes want 1 CPU and 3 GPU each. The cluster's 2 machines have 2 CPU, 0 GPU; 2 CPU, 0 GPU" in said
    assert process.returncode == 143 and "ended by SIGTERM" in error
