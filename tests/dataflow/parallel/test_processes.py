"""Whole programs that use workers: how they start, and what is left of them however they end."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

# no `if __name__ == "__main__"`, a class and a lambda of the main script, threads, an error type of its own
HEAD = """
import os, sys, signal, json
import numpy as np
import flowtrain.dataflow as df

class Numbers(df.DataFlow):
    def __len__(self):
        return 10_000
    def get(self, index, epoch=0):
        return [index, np.full((100, 100), index)]

class Mine(Exception):
    pass

def pids(ds):
    return json.dumps(ds._latest._crew.pids)

ds = df.PrefetchData(df.MapData(Numbers(), lambda dp: [dp[0], dp[1] + 1]), num_proc=2)
"""


def script(tmp_path, body):
    path = tmp_path / "script.py"
    path.write_text(HEAD + textwrap.dedent(body))
    return [sys.executable, str(path)]


def run(tmp_path, body, **options):
    return subprocess.run(script(tmp_path, body), capture_output=True, text=True, timeout=800, **options)


def ended(pids):
    processes = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    alive = [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    return not psutil.wait_procs(alive, timeout=60)[1]


def test_a_plain_script_works_and_runs_once(tmp_path):
    result = run(tmp_path, "print('total', sum(dp[0] for dp in ds))")
    assert result.stdout == f"total {sum(range(10_000))}\n"
    assert result.stderr == ""


def test_what_workers_print_is_seen(tmp_path):
    body = "list(df.PrefetchData(df.MapData(df.TakeData(Numbers(), 3), lambda dp: print('made', dp[0]) or dp)))"
    assert sorted(run(tmp_path, body).stdout.splitlines()) == ["made 0", "made 1", "made 2"]


def test_lines_of_workers_stay_whole_where_python_does_not_buffer(tmp_path):
    """print() writes its words one by one under PYTHONUNBUFFERED; words of two workers must not mix."""
    body = "list(df.PrefetchData(df.MapData(df.TakeData(Numbers(), 200), lambda dp: print(dp[0], *range(9)) or dp), 2))"
    lines = run(tmp_path, body, env={**os.environ, "PYTHONUNBUFFERED": "1"}).stdout.splitlines()
    rest = " ".join(map(str, range(9)))
    assert sorted(lines) == sorted(f"{number} {rest}" for number in range(200))


def test_an_error_type_of_the_main_script(tmp_path):
    body = """
        def bad(dp):
            if dp[0] == 5:
                raise Mine("of the script")
            return dp
        try:
            list(df.PrefetchData(df.MapData(Numbers(), bad)))
        except Mine as error:
            print(type(error) is Mine, error)
    """
    assert run(tmp_path, body).stdout == "True of the script [in MapData(bad), epoch 0, datapoint 5]\n"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("it = iter(ds); next(it); print(pids(ds), flush=True)", 0),
        ("it = iter(ds); next(it); print(pids(ds), flush=True); sys.exit(3)", 3),
        ("it = iter(ds); next(it); print(pids(ds), flush=True); 1 / 0", 1),
        ("it = iter(ds); next(it); print(pids(ds), flush=True); os._exit(4)", 4),
        ("it = iter(ds); next(it); print(pids(ds), flush=True); os.kill(os.getpid(), signal.SIGKILL)", -9),
        ("it = iter(ds); next(it); print(pids(ds), flush=True); os.kill(os.getpid(), signal.SIGTERM)", -15),
    ],
    ids=["end", "exit", "error", "_exit", "SIGKILL", "SIGTERM"],
)
def test_nothing_is_left_of_a_program(tmp_path, body, code):
    result = run(tmp_path, body)
    assert result.returncode == code, result.stderr
    assert ended(json.loads(result.stdout))
    if code == 0:
        assert result.stderr == ""


def test_ctrl_c_reaches_the_program_alone(tmp_path):
    body = """
        import psutil
        try:
            for n, _ in enumerate(df.RepeatedData(ds, -1)):
                if n == 3:
                    print([p.pid for p in psutil.Process().children(recursive=True)], flush=True)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """
    with subprocess.Popen(
        script(tmp_path, body), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        pids = json.loads(process.stdout.readline())
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=800)
    assert out == "interrupted\n"
    assert err == ""
    assert process.returncode == 0
    assert ended(pids)


def test_a_program_that_forks_keeps_its_workers(tmp_path):
    body = """
        it = iter(ds)
        first = next(it)
        pid = os.fork()
        if pid == 0:
            own = sum(dp[0] for dp in df.PrefetchData(df.TakeData(Numbers(), 50)))
            del it, ds
            os._exit(0 if own == sum(range(50)) else 9)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), sum(dp[0] for dp in it))
    """
    result = run(tmp_path, body)
    assert result.stdout == f"0 {sum(range(10_000))}\n", result.stderr


def limited(which, value):
    return lambda: resource.setrlimit(which, (value, value))


def test_with_256_open_files(tmp_path):
    body = """
        small = df.TakeData(Numbers(), 300)
        print(sum(dp[0] for dp in df.PrefetchData(small, num_proc=16)))
        try:
            held = [open("/dev/null") for _ in range(200)]
            sum(dp[0] for dp in df.PrefetchData(small, num_proc=16))
        except Exception as error:
            print(type(error).__name__, error)
    """
    result = run(tmp_path, body, preexec_fn=limited(resource.RLIMIT_NOFILE, 256))
    total, error = result.stdout.splitlines()
    assert total == str(sum(range(300)))
    assert "FlowtrainError 16 worker processes need about 88 open files" in error
    assert "ulimit -n" in error


def test_with_little_address_space(tmp_path):
    result = run(tmp_path, "print(sum(dp[0] for dp in ds))", preexec_fn=limited(resource.RLIMIT_AS, 3 << 30))
    assert result.stdout == f"{sum(range(10_000))}\n", result.stderr


def test_workers_share_an_array_in_memory(tmp_path):
    body = """
        import psutil
        data = np.arange(10_000_000).reshape(1000, -1)
        ds = df.PrefetchData(df.BatchData(df.DataFromArrays(data), 100), num_proc=4)
        it = iter(ds)
        assert all((b[0][:, 0] == data[n * 100 : n * 100 + 100, 0]).all() for n, b in enumerate(it))
        it = iter(ds); next(it)
        own = [psutil.Process(pid).memory_full_info().pss for pid in ds._latest._crew.pids]
        print(max(own) < data.nbytes)
    """
    result = run(tmp_path, body)
    assert result.stdout == "True\n", result.stderr


def test_the_environment_and_folder_of_the_moment(tmp_path):
    (tmp_path / "other").mkdir()
    body = """
        list(df.TakeData(ds, 1))
        os.chdir("other"); os.environ["OF_THE_MOMENT"] = "yes"; sys.path.append("/nowhere")
        look = lambda dp: [os.getcwd(), os.environ["OF_THE_MOMENT"], sys.path[-1], os.environ["OMP_NUM_THREADS"]]
        print(next(iter(df.PrefetchData(df.MapData(Numbers(), look)))))
    """
    result = run(tmp_path, body, cwd=tmp_path)
    assert result.stdout == f"{[str(tmp_path / 'other'), 'yes', '/nowhere', '1']}\n", result.stderr


def test_stopped_at_once_after_the_start(tmp_path):
    """Killed while its workers are being started."""
    with subprocess.Popen(script(tmp_path, "print('up', flush=True); list(ds)"), stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        children = psutil.Process(process.pid)
        while not (started := children.children(recursive=True)):
            assert process.poll() is None, "it ended before it had started any"
            time.sleep(0.001)  # leaves it the core, and comes while they are being started
        process.kill()
    assert ended([p.pid for p in started])
