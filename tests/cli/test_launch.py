"""`flowtrain launch` and `flowtrain serve`: real processes, killed by real signals."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import flowtrain.dataflow as df
from flowtrain.cli import main
from flowtrain.cli.places import slurm_environment, slurm_script

from ..launched_lines import lines_by_process, workers_of


def launch(*args, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "flowtrain.cli", "launch", *map(str, args)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment},
    )  # fmt: skip


def script(folder, text):
    path = folder / "train.py"
    path.write_text("import json, os, signal, sys, time\n" + text)
    return path


def is_gone(pid):
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    return True


def test_each_process_knows_its_place_and_its_lines_say_whose_they_are(tmp_path):
    path = script(tmp_path, "print(os.environ['TF_CONFIG'])\nprint(sys.argv[1:], flush=True)\nprint('end', end='')")
    process = launch("-n", 3, path, "--", "--rate", "0.1")
    out, error = process.communicate(timeout=800)
    assert process.returncode == 0, error
    lines = lines_by_process(out, 3)
    assert all(address.startswith("127.0.0.1:") for address in workers_of([own[0] for own in lines]))
    assert all(own[1:] == ["['--rate', '0.1']", "end"] for own in lines)


def test_one_process_needs_no_cluster_and_gpus_are_dealt_out(tmp_path):
    path = script(tmp_path, "print('TF_CONFIG' in os.environ, os.environ.get('CUDA_VISIBLE_DEVICES'))")
    assert launch(path, CUDA_VISIBLE_DEVICES="7").communicate(timeout=800)[0] == "False 7\n"
    found = launch("-n", 2, "--gpus", 2, path).communicate(timeout=800)[0]
    assert sorted(found.splitlines()) == ["[0] True 0,1", "[1] True 2,3"]


DEAF = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
print("pid", os.getpid(), flush=True)
if index == 1:
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.02)
    END
while True:
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("end", "status", "said"),
    [
        ("sys.exit(7)", 7, "process 1 ended with status 7"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137, "process 1 was ended by SIGKILL"),
    ],
)
def test_when_one_dies_all_end_with_its_status(tmp_path, end, status, said):
    process = launch("-n", 3, script(tmp_path, DEAF.replace("END", end)), "--", tmp_path / "go")
    pids = [int(process.stdout.readline().split()[-1]) for _ in range(3)]
    (tmp_path / "go").touch()
    _, error = process.communicate(timeout=800)
    assert process.returncode == status and said in error
    assert all(map(is_gone, pids))


ASKED = """
def save(number, frame):
    print("saved", flush=True)
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
print("pid", os.getpid(), flush=True)
while True:
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_all_and_nothing_is_started_again(tmp_path, number):
    process = launch("-n", 2, "--restarts", 5, script(tmp_path, ASKED))
    for _ in range(2):
        process.stdout.readline()
    process.send_signal(number)
    out, error = process.communicate(timeout=800)
    assert process.returncode == 143 and sorted(out.splitlines()) == ["[0] saved", "[1] saved"]
    assert f"ended by {signal.Signals(number).name}" in error and "started again" not in error


def test_they_end_with_the_launcher_whatever_ends_it(tmp_path):
    process = launch("-n", 2, script(tmp_path, ASKED.replace('print("saved", flush=True)', "pass")))
    pids = [int(process.stdout.readline().split()[-1]) for _ in range(2)]
    process.kill()
    process.communicate(timeout=800)
    deadline = time.monotonic() + 250
    while not all(map(is_gone, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_restarts_are_counted_and_continue_the_run(tmp_path):
    text = """
with open(sys.argv[1], "a") as file:
    file.write(os.environ["FLOWTRAIN_RESUME"] + "\\n")
sys.exit(open(sys.argv[1]).read().count("auto") < 3)
"""
    path = script(tmp_path, text)
    process = launch("--restarts", 5, path, "--", tmp_path / "log")
    _, error = process.communicate(timeout=800)
    assert process.returncode == 0 and (tmp_path / "log").read_text() == "auto\n" * 3
    assert error.count("all are started again") == 2 and "(5 times left)" in error
    (tmp_path / "log").unlink()
    process = launch("--restarts", 1, path, "--", tmp_path / "log")
    assert process.wait(250) == 1 and (tmp_path / "log").read_text() == "auto\n" * 2
    process.communicate()


def test_wrong_uses_are_told(tmp_path):
    run = CliRunner().invoke
    assert "there is no file" in run(main, ["launch", "nowhere.py"]).output
    assert "add --slurm" in run(main, ["launch", "--print", "train.py"]).output
    path = str(script(tmp_path, ""))
    assert "add --ray" in run(main, ["launch", "--cpus", "2", path]).output
    assert "one of them" in run(main, ["launch", "--ray", "auto", "--slurm", path]).output
    assert "no file no.py in" in run(main, ["launch", "--ray", "auto", "--working-dir", str(tmp_path), "no.py"]).output
    assert "SLURM_" in run(main, ["launch", "--slurm", path], env={"SLURM_JOB_NODELIST": None}).output


@pytest.mark.parametrize(
    ("nodes", "tasks", "names"),
    [
        ("n1,n2", "1(x2)", ["n1", "n2"]),
        ("gpu[01-03,10]", "1(x4)", ["gpu01", "gpu02", "gpu03", "gpu10"]),
        ("a[1-2]-ib,b", "2(x2),1", ["a1-ib", "a1-ib", "a2-ib", "a2-ib", "b"]),
    ],
)
def test_all_tasks_of_slurm_work_out_the_same_cluster(nodes, tasks, names):
    found = []
    for rank in range(len(names)):
        given = {"SLURM_JOB_NODELIST": "other", "SLURM_STEP_NODELIST": nodes, "SLURM_STEP_TASKS_PER_NODE": tasks}
        config = slurm_environment({**given, "SLURM_PROCID": str(rank), "SLURM_JOB_ID": "1234567"})["TF_CONFIG"]
        found.append(json.loads(config))
        assert found[-1]["task"] == {"type": "worker", "index": rank}
    workers = found[0]["cluster"]["worker"]
    assert all(one["cluster"]["worker"] == workers for one in found)
    assert [worker.split(":")[0] for worker in workers] == names and len(set(workers)) == len(names)


def test_the_same_names_as_tensorflow_finds(monkeypatch):
    tf = pytest.importorskip("tensorflow")
    given = {
        "SLURM_STEP_NODELIST": "n[01-02,7]", "SLURM_STEP_TASKS_PER_NODE": "1(x3)", "SLURM_PROCID": "2",
        "SLURM_JOB_ID": "5", "SLURM_STEP_NUM_TASKS": "3",
    }  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    theirs = tf.distribute.cluster_resolver.SlurmClusterResolver(auto_set_gpu=False).cluster_spec().as_dict()
    ours = json.loads(slurm_environment(given)["TF_CONFIG"])["cluster"]
    assert [a.split(":")[0] for a in ours["worker"]] == [a.split(":")[0] for a in theirs["worker"]]


@pytest.mark.parametrize(
    "change", [{"SLURM_STEP_NODELIST": "n[1-"}, {"SLURM_STEP_TASKS_PER_NODE": "x"}, {"SLURM_JOB_ID": ""}]
)
def test_an_environment_of_slurm_that_is_none(change):
    given = {"SLURM_STEP_NODELIST": "n1", "SLURM_STEP_TASKS_PER_NODE": "1", "SLURM_PROCID": "0", "SLURM_JOB_ID": "5"}
    assert slurm_environment(given) == {}
    with pytest.raises(click.ClickException, match="--slurm"):
        slurm_environment({**given, **change})


def test_the_job_for_slurm_is_a_script_that_bash_reads():
    text = slurm_script(["run/train it.py", "--rate", "0.1"], 4, 2, 3)
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0
    assert "#SBATCH --nodes=4\n" in text and "#SBATCH --gpus-per-task=2\n" in text and "requeue" in text
    assert "launch --slurm --restarts=3 'run/train it.py' -- --rate 0.1\n" in text
    printed = CliRunner().invoke(main, ["launch", "--slurm", "--print", "-n", "4", "train.py"]).output
    assert printed == slurm_script(["train.py"], 4, None, 0) and "requeue" not in printed


@pytest.mark.parametrize("senders", [1, 3])
def test_serve_sends_each_datapoint_once(tmp_path, senders):
    path = tmp_path / "data.py"
    path.write_text(
        "import os\n"
        "import flowtrain.dataflow as df\n"
        "def get_data(size):\n"
        "    ds = df.DataFromList([[i] for i in range(size)], shuffle=True)\n"
        "    return df.MapData(ds, lambda dp: [dp[0] ** 2, os.getpid()])\n"
        "df.send_dataflow(get_data(1), 'tcp://:1')\n"
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    command = [sys.executable, "-m", "flowtrain.cli", "serve", f"{path}:get_data", address, "-a", "size=40"]
    command += ["-n", str(senders)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    ds, reference, seen = df.RemoteData(address, timeout=800), df.DataFromList(list(range(40)), shuffle=True), set()
    try:
        while len(seen) < senders:  # the slowest may come when others have sent an epoch
            found = list(ds)
            assert [dp[0] for dp in found] == [number**2 for number in reference]
            seen |= {dp[1] for dp in found}
    finally:
        ds.close()
    out, _ = process.communicate(timeout=800)
    assert process.returncode == 0, out
    assert out.count("sent ") == senders
