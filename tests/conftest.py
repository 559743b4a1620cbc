"""What every test runs under: quiet TensorFlow, hypothesis without deadlines, a check that nothing is left behind."""

from __future__ import annotations

import gc
import os
import random
import signal
import threading
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, settings

from .far_away import s3, s3_server, storage_cache  # noqa: F401 - fixtures

# A usual run tries the same examples each time: what it says of a change does not depend on chance. New ones are for
# the long profile (--hypothesis-profile=long) and the fuzzers.
_ANY = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
settings.register_profile("flowtrain", _ANY, derandomize=True)
settings.register_profile("long", _ANY, max_examples=3000)
settings.load_profile("flowtrain")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what is put into the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else no test, and no program of one, sees Ctrl-C

# What is started once for all tests that need it: where they are, and the name of their marks ``xdist_group``. By
# place, as xdist 3.8 cannot write the marks' names into the ids of pytest 9.2, and deals the tests out to all workers.
_TOGETHER = {"tests/dataflow/cluster/": "ray", "tests/report/test_page.py": "browser"}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadGroupScheduling

    class ByPlace(LoadGroupScheduling):
        """Gives a group to one worker."""

        def _split_scope(self, nodeid: str) -> str:
            groups = (group for start, group in _TOGETHER.items() if nodeid.startswith(start))
            return next(groups, nodeid)

    return ByPlace(config, log)


def _memfds() -> set[str]:
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:  # the descriptor of the listing itself
            continue
        if target.startswith("/memfd:"):
            found.add(f"{fd} -> {target}")
    return found


def _shared_memory() -> set[str]:
    folder = Path("/dev/shm")
    mine = set()
    for path in folder.iterdir() if folder.is_dir() else ():
        try:
            if path.stat().st_uid == os.getuid():
                mine.add(path.name)
        except OSError:  # gone meanwhile
            continue
    return mine


def _processes() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _command(process: psutil.Process) -> str:
    """What a living process runs; empty when it has ended."""
    try:
        return "" if process.status() == psutil.STATUS_ZOMBIE else " ".join(process.cmdline())[:200]
    except psutil.Error:
        return ""


def _threads() -> set[str]:
    names = {thread.name for thread in threading.enumerate() if thread.is_alive()}
    return {name for name in names if not name.startswith("pytest_timeout")}  # the clock of the test that runs


def _left(
    processes: list[psutil.Process], memfds: set[str], entries: set[str], threads: set[str]
) -> dict[str, list[str] | set[str]]:
    """What is there of these processes, and beyond what was there before, kind by kind."""
    left: dict[str, list[str] | set[str]] = {
        "processes": [command for command in map(_command, processes) if command],
        "memfds": _memfds() - memfds,
        "entries of /dev/shm": {name for name in _shared_memory() - entries if "flowtrain" in name},
        "threads": {name for name in _threads() - threads if "flowtrain" in name.lower()},
    }
    return {kind: things for kind, things in left.items() if things}


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind():
    """Fail the run when its tests leave a process, a thread, a memfd or a /dev/shm entry behind."""
    before = _processes(), _memfds(), _shared_memory(), _threads()
    yield
    from flowtrain.ipc import shutdown

    gc.collect()
    shutdown()
    _, alive = psutil.wait_procs([process for process in _processes() if process not in before[0]], timeout=60)
    end = time.monotonic() + 20  # what a thread or a cycle of objects still holds goes with it
    while left := _left(alive, *before[1:]):
        if time.monotonic() > end:
            break
        time.sleep(0.1)
        gc.collect()
    if left:
        pytest.fail(f"tests left behind: {left}")


@pytest.fixture(autouse=True)
def default_seed():
    """Each test starts from the default seed, and leaves it as it was; Python's and NumPy's generators start alike.

    Keras takes the seeds of initializers that were given none from Python's.
    """
    from flowtrain.utils.seeding import set_seed

    set_seed(0)
    random.seed(0)
    np.random.seed(0)
    yield
    set_seed(0)


@pytest.fixture(scope="session")
def photos() -> Path:
    """The folder of CC0 photographs that the repository carries."""
    return Path(__file__).parents[1] / "examples" / "colorize" / "photos"
