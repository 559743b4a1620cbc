"""What goes wrong in workers: each case ends in one clear error, at once, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import flowtrain.dataflow as df
from flowtrain.dataflow.parallel.crews import ProcessCrews
from flowtrain.ipc import shutdown
from flowtrain.ipc.failures import WorkerTraceback
from flowtrain.ipc.parcel import NotSendable
from flowtrain.utils.errors import ConfigError, DataFlowError, FlowtrainError, WorkerDied, WorkerTimeout

from ..helpers_dataflow import loops, loops_whatever_comes


class Numbers(df.DataFlow):
    def __init__(self, size=100):
        self.size = size

    def __len__(self):
        return self.size

    def get(self, index, epoch=0):
        return [index, np.full(2000, index)]


class NeedsArguments(Exception):
    def __init__(self, code, *, reason):
        super().__init__(f"code {code}: {reason}")
        self.code = code


class CannotBePickled(ValueError):
    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()
        self.note = "kept"


def raising(make_error, at=37):
    def function(dp):
        if dp[0] == at:
            raise make_error()
        return dp

    return function


def prefetched(function, **options):
    return df.PrefetchData(df.MapData(Numbers(), function), **options)


def values(ds):
    return [dp[0] for dp in ds]


def workers():
    """The living processes beneath this one that run workers, and the one that starts them: not those of a cluster."""
    return [process for process in psutil.Process().children(recursive=True) if "flowtrain.ipc" in _command(process)]


def _command(process):
    try:
        return " ".join(process.cmdline()) if process.status() != psutil.STATUS_ZOMBIE else ""
    except psutil.Error:
        return ""


def worker_pids(ds):
    return ds._latest._crew.pids


# ---- exceptions


def test_an_error_arrives_as_its_own_type_with_place_and_traceback():
    def explode(dp):
        if dp[0] == 37:
            raise KeyError("no such thing")
        return dp

    seen = []
    with pytest.raises(KeyError, match=r"MapData\(explode\), epoch 0, datapoint 37") as caught:
        for dp in prefetched(explode):
            seen.append(dp[0])
    assert seen == list(range(37))  # everything before it came first
    assert isinstance(caught.value.__cause__, WorkerTraceback)
    assert "in explode" in str(caught.value.__cause__)


def test_an_error_in_a_source_names_the_index():
    class Broken(Numbers):
        def get(self, index, epoch=0):
            if index == 3:
                raise OSError(5, "cannot read", "photo.jpg")
            return [index]

    with pytest.raises(OSError, match=r"Broken, epoch 0, datapoint 3") as caught:
        values(df.PrefetchData(Broken()))
    assert caught.value.errno == 5
    assert caught.value.filename == "photo.jpg"


@pytest.mark.parametrize("workers_of", [df.PrefetchData, df.MultiThreadRunner])
def test_errors_that_need_constructor_arguments_or_cannot_be_pickled(workers_of):
    ds = workers_of(df.MapData(Numbers(), raising(lambda: NeedsArguments(7, reason="full"))))
    with pytest.raises(
        NeedsArguments, match=r"code 7: full \[in MapData\(function\), epoch 0, datapoint 37\]"
    ) as caught:
        values(ds)
    assert caught.value.code == 7
    ds = workers_of(df.MapData(Numbers(), raising(lambda: CannotBePickled("odd"))))
    with pytest.raises(CannotBePickled, match=r"odd.*datapoint 37") as caught:
        values(ds)
    assert caught.value.note == "kept"


def test_an_error_while_the_flow_is_unpacked_says_so():
    class Trap:
        def __reduce__(self):
            return _explode, ()

    with pytest.raises(ZeroDivisionError) as caught:
        values(prefetched(Trap().__class__ and _with(Trap())))
    assert "unpacked the flow" in "".join(getattr(caught.value, "__notes__", [])) + str(caught.value.__cause__)


def _explode():
    raise ZeroDivisionError("on arrival")


def _with(held):
    return lambda dp: (held, dp)[1]


def test_a_flow_that_cannot_be_pickled_is_named():
    with pytest.raises(Exception, match=r"reset_state\(\).*num_proc=0"):
        values(prefetched(_with(threading.Lock())))


class Opens:
    def __init__(self):
        self.file = open(os.devnull, "wb")  # noqa: SIM115

    def read(self, dp):
        return dp


def test_what_keeps_a_flow_from_being_sent_is_named():
    opened, lock = Opens(), threading.Lock()
    with contextlib.closing(opened.file):
        for function, part in [
            (opened.read, r"\(Opens\.file of type BufferedWriter\)"),
            (lambda dp: (opened, dp), r"\(Opens\.file of type BufferedWriter\)"),
            (lambda dp: (lock, dp), r"\('lock' in .*<lambda> of type lock\)"),
        ]:
            with pytest.raises(FlowtrainError, match=part):
                values(prefetched(function))
    with pytest.raises(FlowtrainError, match=r"\(DataFromList\.datapoints\[1\]\['a'\] of type lock\)"):
        values(df.PrefetchData(df.DataFromList([[1], {"a": lock}]), 1, 1))


def test_a_datapoint_that_cannot_be_sent_names_the_part():
    with pytest.raises(NotSendable, match=r"\[1\] of type lock"):
        values(prefetched(lambda dp: [dp[0], threading.Lock()]))


def _one_with_a_lock():
    yield from ([0], {"a": [threading.Lock()]})


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            lambda ds: df.PrefetchData(ds, 1, 1),
            r"datapoint 1\['a'\]\[0\] of type lock.* \[in PrefetchData\(num_proc=1\), epoch 0\]",
        ),
        (
            lambda ds: df.MultiProcessMapData(ds, 1, lambda dp: dp),
            r"\['a'\]\[0\] of type lock.* \[in MultiProcessMapData\(.*epoch 0\]",
        ),
    ],
)
def test_a_datapoint_that_cannot_be_sent_names_the_stage(made, message):
    with pytest.raises(NotSendable, match=message):
        values(made(df.DataFromGenerator(_one_with_a_lock)))


class Comes:
    """Can be pickled, and does not come back."""

    def __reduce__(self):
        return _refuses, ()


def _refuses():
    raise ZeroDivisionError("not here")


def test_a_datapoint_that_does_not_come_back():
    with pytest.raises(NotSendable, match=r"ZeroDivisionError: not here.*\[in PrefetchData\(num_proc=1\), epoch 0\]"):
        values(df.PrefetchData(df.MapData(Numbers(), lambda dp: [Comes()]), 1, 1))


def test_a_keyboard_interrupt_of_a_function_is_not_taken_for_ctrl_c():
    with pytest.raises(KeyboardInterrupt) as caught:
        values(prefetched(raising(KeyboardInterrupt)))
    assert any("at datapoint 37, not by Ctrl-C" in note for note in caught.value.__notes__)


def test_the_flow_can_be_iterated_again_after_an_error():
    ds = prefetched(raising(ValueError))
    for _ in range(2):
        with pytest.raises(ValueError, match="datapoint 37"):
            values(ds)


# ---- deaths


def test_a_killed_worker_is_named_at_once():
    ds = df.PrefetchData(df.MapData(Numbers(10**6), lambda dp: dp))
    it = iter(ds)
    next(it)
    pid = worker_pids(ds)[1]
    os.kill(pid, signal.SIGKILL)
    later = 0
    with pytest.raises(WorkerDied, match=rf"pid {pid}\) was killed by SIGKILL"):
        for _ in it:
            later += 1
    assert later < 10**5  # at most what was ahead of the consumer then; a tenth of the epoch


def test_a_worker_that_exits_is_named():
    with pytest.raises(WorkerDied, match=r"ended with exit code 3 while making datapoint 37"):
        values(prefetched(lambda dp: os._exit(3) if dp[0] == 37 else dp))


def test_restart_makes_the_lost_datapoints_again(tmp_path):
    def dies_once(dp):
        mark = tmp_path / str(dp[0])
        if dp[0] % 20 == 7 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return dp

    ds = prefetched(dies_once, restart=True, num_proc=2)
    assert values(ds) == list(range(100))
    assert values(ds) == list(range(100))


def test_restart_goes_on_in_a_flow_that_can_only_be_iterated(tmp_path):
    def generate():
        for i in range(60):
            mark = tmp_path / str(i)
            if i in (5, 33) and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield [i]

    ds = df.PrefetchData(df.DataFromGenerator(generate), num_proc=1, restart=True)
    assert values(ds) == list(range(60))


class Elsewhere:
    """Stands for a cluster, on which workers are replaced where nobody says otherwise: processes of this machine."""

    def crews(self, workers, window, **options):
        return ProcessCrews(workers, window, **options)


@pytest.mark.parametrize("options", [{"restart": True}, {"cluster": Elsewhere()}], ids=["here", "cluster"])
@pytest.mark.parametrize("strict", [True, False])
def test_restart_of_a_map_over_datapoints_that_were_sent(tmp_path, strict, options):
    def dies_once(dp):
        mark = tmp_path / str(dp[0])
        if dp[0] in (5, 33) and not mark.exists():
            mark.touch()
            dp[1][:] = -1  # what was sent must not be sent again spoilt
            os.kill(os.getpid(), signal.SIGKILL)
        return [dp[0], int(dp[1].sum())]

    source = df.DataFromGenerator(lambda: ([i, np.full(9000, i)] for i in range(60)))
    ds = df.MultiProcessMapData(source, 2, dies_once, strict=strict, **options)
    assert sorted(map(tuple, ds)) == [(i, 9000 * i) for i in range(60)]


def test_restart_gives_up_on_a_datapoint_that_always_kills():
    with pytest.raises(WorkerDied, match="datapoint 37; so did the workers that took its place"):
        values(prefetched(lambda dp: os.abort() if dp[0] == 37 else dp, restart=True))


def test_the_death_of_the_process_that_starts_the_workers():
    shutdown()
    ds = df.PrefetchData(Numbers(10**6))
    it = iter(ds)
    next(it)
    zygote = psutil.Process(worker_pids(ds)[0]).parent()
    zygote.kill()
    with pytest.raises(WorkerDied, match="together with the process that starts the workers"):
        for _ in it:
            pass
    assert values(df.PrefetchData(Numbers())) == list(range(100))  # and a new one is started


def test_the_death_of_the_process_that_starts_the_workers_is_made_good_by_restart():
    ds = df.PrefetchData(Numbers(5000), restart=True, num_proc=5)
    it = iter(ds)
    seen = [next(it)[0]]
    psutil.Process(worker_pids(ds)[0]).parent().kill()
    assert seen + [dp[0] for dp in it] == list(range(5000))


@pytest.fixture
def preloaded(tmp_path, monkeypatch):
    """Make a module that the process that starts the workers imports, and that counts how often it did."""

    def make(last_line):
        name = f"ends_its_process_{tmp_path.name}".replace("-", "_")
        count = tmp_path / "count"
        count.touch()
        (tmp_path / f"{name}.py").write_text(
            "import os\n"
            f"with open({str(count)!r}, 'a') as file:\n    file.write('x')\n"
            f"count = os.path.getsize({str(count)!r})\n{last_line}\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        shutdown()
        return name, count

    yield make
    shutdown()


@pytest.mark.parametrize("restart", [False, True])
def test_the_process_that_starts_the_workers_is_killed_again_while_it_starts(preloaded, restart):
    name, count = preloaded("if count <= 4: os.kill(os.getpid(), 9)")
    assert values(df.PrefetchData(Numbers(), num_proc=2, restart=restart, preload=[name])) == list(range(100))
    assert count.stat().st_size == 5


def test_the_process_that_starts_the_workers_is_always_killed_while_it_starts(preloaded):
    name, _ = preloaded("os.kill(os.getpid(), 9)")
    with pytest.raises(WorkerDied, match=r"was killed by SIGKILL \d times in a row before it had started one"):
        values(df.PrefetchData(Numbers(), restart=True, preload=[name]))
    assert values(df.PrefetchData(Numbers())) == list(range(100))


def test_the_process_that_starts_the_workers_ends_by_itself(preloaded):
    name, count = preloaded("os._exit(3)")
    with pytest.raises(WorkerDied, match="ended by itself with exit code 3 before it had started one"):
        values(df.PrefetchData(Numbers(), restart=True, preload=[name]))
    assert count.stat().st_size == 1


@pytest.mark.parametrize("entry", ["", "lib"])
def test_a_working_directory_that_was_deleted(tmp_path, monkeypatch, entry):
    shutdown()  # so that the process that starts the workers begins there too
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(entry)
    folder.rmdir()
    assert values(df.PrefetchData(Numbers(), num_proc=2)) == list(range(100))
    monkeypatch.undo()
    assert values(df.PrefetchData(Numbers(), num_proc=2)) == list(range(100))


def sleeps(dp):
    return time.sleep(60) if dp[0] == 37 else dp


@pytest.mark.parametrize("function", [loops, sleeps])
@pytest.mark.parametrize(
    "spread",
    [
        lambda f: df.PrefetchData(df.MapData(Numbers(), f), timeout=2),
        lambda f: df.PrefetchData(df.DataFromGenerator(lambda: (f([i]) for i in range(60))), num_proc=1, timeout=2),
        lambda f: df.MultiProcessMapData(df.DataFromGenerator(lambda: Numbers()), 2, f, strict=True, timeout=2),
    ],
    ids=["by index", "walked", "sent"],
)
def test_what_takes_too_long_is_ended_and_named_after_all_that_came_before_it(function, spread):
    ds, seen = spread(function), []
    with pytest.raises(WorkerTimeout, match=r"epoch 0,.*making datapoint 37 for .* longer than 2 s") as caught:
        for dp in ds:
            seen.append(dp[0])
    assert seen == list(range(37))
    assert f"in {function.__name__}" in str(caught.value.__cause__)  # where it was


def test_what_does_not_let_itself_be_ended_is_killed():
    ds, seen = prefetched(loops_whatever_comes, timeout=2), []
    with pytest.raises(WorkerTimeout, match=r"making datapoint 37 for .* longer than 2 s"):
        for dp in ds:
            seen.append(dp[0])
    assert seen == list(range(len(seen)))
    resumed = df.PrefetchData(Numbers())
    resumed.load_state_dict(ds.state_dict())
    assert seen + values(resumed) == list(range(100))  # those that came in the same group are not lost


def test_a_flow_that_takes_too_long_to_unpack(monkeypatch):
    monkeypatch.setattr("flowtrain.ipc.pool._START", 2.0)

    class Slow:
        def __reduce__(self):
            return time.sleep, (60,)

    with pytest.raises(WorkerTimeout, match="unpacking the flow for"):
        values(prefetched(_with(Slow()), timeout=2))


@pytest.mark.parametrize("spread", [df.MultiThreadMapData, lambda ds, n, f, **o: _thread_runner(ds, n, f, **o)])
def test_a_thread_that_hangs_is_named_after_all_that_came_before(spread):
    release = threading.Event()

    def waits(dp):
        if dp[0] == 37:
            release.wait(60)
        return dp

    seen = []
    with pytest.raises(WorkerTimeout, match=r"making datapoint 37"):
        for dp in spread(Numbers(), 2, waits, strict=True, timeout=2):
            seen.append(dp[0])
    release.set()
    assert seen == list(range(37))


def _thread_runner(ds, num_thread, function, strict, timeout):
    return df.MultiThreadRunner(df.MapData(ds, function), num_thread=num_thread, timeout=timeout)


# ---- leaving


def leave_by_break(ds):
    for _ in ds:
        break


def leave_by_error(ds):
    with pytest.raises(LookupError):
        for _ in ds:
            raise LookupError


def leave_by_closing(ds):
    it = iter(ds)
    next(it)
    it.close()


def leave_by_forgetting(ds):
    it = iter(ds)
    next(it)


def leave_by_interrupt(ds):
    with pytest.raises(KeyboardInterrupt):
        for n, _ in enumerate(ds):
            if n == 3:
                signal.raise_signal(signal.SIGINT)


def leave_by_interrupt_while_waiting(ds):
    ds = df.PrefetchData(df.MapData(ds.ds, lambda dp: time.sleep(60)))
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        timer.start()
        next(iter(ds))
    timer.join()


def leave_by_error_in_a_worker(ds):
    with pytest.raises(ValueError, match="datapoint 37"):
        values(df.PrefetchData(df.MapData(ds.ds, raising(ValueError))))


def leave_by_error_above_the_workers(ds):
    with pytest.raises(ValueError, match="datapoint 37"):
        values(df.MapData(ds, raising(ValueError)))


def leave_by_death(ds):
    with pytest.raises(WorkerDied):
        values(df.PrefetchData(df.MapData(ds.ds, lambda dp: os._exit(3))))


LEAVE = [function for name, function in sorted(globals().items()) if name.startswith("leave_by_")]


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("leave", LEAVE)
def test_nothing_is_left_when_the_consumer_leaves(leave, no_collector):
    shutdown()
    leave(df.PrefetchData(Numbers(10**6)))
    assert not shared_files()
    _, alive = psutil.wait_procs(workers(), timeout=60)
    assert not alive


@pytest.mark.parametrize("leave", [leave_by_error_in_a_worker, leave_by_error_above_the_workers, leave_by_death])
def test_an_error_that_was_caught_holds_no_shared_memory(leave, no_collector):
    leave(df.PrefetchData(Numbers(10**6)))
    assert not shared_memory()


def test_what_the_consumer_holds_stays_when_an_error_ends_the_walk(no_collector):
    kept = []
    with pytest.raises(ValueError, match="datapoint 37"):
        for dp in prefetched(raising(ValueError)):
            kept.append(dp)
    assert not shared_files()
    assert shared_memory()
    for index, array in kept:
        assert (array == index).all()
    del kept, dp, array
    assert not shared_memory()


def shared_files():
    """The descriptors that are open for memory that workers share."""
    return [fd for fd in os.listdir("/proc/self/fd") if "memfd:flowtrain" in _link(fd)]


def shared_memory():
    """Where it is mapped."""
    with open("/proc/self/maps") as maps:
        return [line for line in maps if "memfd:flowtrain" in line]


def _link(fd):
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


def count_mappings():
    """How many pieces of memory are mapped; psutil also counts their pages, which takes seconds under load."""
    maps = Path("/proc/self/maps")
    return maps.read_bytes().count(b"\n") if maps.exists() else len(psutil.Process().memory_maps(grouped=False))


def test_starting_and_stopping_leaks_nothing():
    ds = df.PrefetchData(Numbers(50))

    def cycle():
        for _ in ds:
            break

    process = psutil.Process()

    def held(cycles):
        """What is held after so many more, once those that end in the background have ended."""
        for _ in range(cycles):
            cycle()
        least = None
        gc.collect()
        for _ in range(500):
            now = process.num_fds(), count_mappings()
            if now == least:
                break
            least = now
            time.sleep(0.02)  # lets the workers that were told to end do so; the loop ends when nothing changes
        return now

    before = held(10)  # pools are warm by then
    after = held(25)
    assert after[0] <= before[0] + 3  # what one pool that is ending may still hold; 25 leaks would be 25 at least
    assert after[1] <= before[1] + 5


# ---- memory


def test_a_consumer_that_hoards_gets_copies():
    ds = df.PrefetchData(Numbers(300), num_prefetch=2, num_proc=2)
    hoard = [dp for _ in range(2) for dp in ds]
    for n, (index, array) in enumerate(hoard):
        assert index == n % 300
        assert (array == index).all()
        array += 1  # and they are the consumer's own


def test_a_slice_of_a_slice_keeps_the_memory():
    def wide(dp):
        return [np.full((100, 200), dp[0])]

    ds = df.PrefetchData(df.MapData(Numbers(200), wide), num_prefetch=1)
    hoard = [dp[0][3:50].T[::2].reshape(-1)[5:] for dp in ds]
    assert all((row == n).all() for n, row in enumerate(hoard))


def test_arrays_outlive_the_workers():
    it = iter(df.PrefetchData(Numbers()))
    kept = next(it)[1]
    it.close()
    shutdown()
    assert (kept == 0).all()


def test_what_a_worker_keeps_is_not_overwritten():
    first = []

    def keeping(batch):
        if not first:
            first.append(batch[1])
        return [batch[0], batch[1], np.array(first[0]), np.full(2000, int(first[0][0, 0]))]

    ds = df.PrefetchData(df.MapData(df.BatchData(Numbers(200), 2), keeping), num_proc=1, num_prefetch=1)
    for number, (_, batch, kept, value) in enumerate(ds):
        assert (kept == np.array([[0], [1]])).all(), number
        assert (value == 0).all()
        batch[:] = -5  # the consumer may write into what it got


def test_what_a_dead_worker_kept_is_used_again(tmp_path):
    first = []

    def keeping(dp):
        mark = tmp_path / str(dp[0][0])
        if dp[0][0] % 20 == 8 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        first.append(dp)
        return dp

    ds = df.PrefetchData(df.MapData(df.BatchData(Numbers(400), 2), keeping), 1, num_proc=1, restart=True)
    assert [index[0] for index, _ in ds] == list(range(0, 400, 2))  # 20 deaths, 7 slots


def test_datapoints_larger_than_a_slot(monkeypatch):
    monkeypatch.setattr("flowtrain.ipc.arena.SLOT_BYTES", 1 << 20)

    def big(dp):
        return [dp[0], np.full(200_000, dp[0]), np.zeros(100_000), b"x" * 1_500_000, np.full(300_000, -dp[0])]

    ds = df.PrefetchData(df.BatchData(df.MapData(Numbers(12), big), 2))
    for number, (index, a, _, text, b) in enumerate(ds):
        assert list(index) == [2 * number, 2 * number + 1]
        assert (a[1] == 2 * number + 1).all()
        assert (b[1] == -2 * number - 1).all()
        assert len(text[0]) == 1_500_000
        a += 1


# ---- arguments


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_proc": -1}, "num_proc must be a whole number of at least 0, got -1"),
        ({"num_prefetch": 0}, "num_prefetch must be"),
        ({"num_proc": 2.5}, "got 2.5"),
        ({"timeout": 0}, "timeout must be"),
    ],
)
def test_senseless_arguments(options, message):
    with pytest.raises(ConfigError, match=message):
        df.PrefetchData(Numbers(), **options)


def test_old_spellings_name_todays():
    with pytest.raises(TypeError, match=r"PrefetchData has no argument 'nr_proc'\. Write num_proc= instead\."):
        df.PrefetchData(Numbers(), nr_proc=2)


def test_a_flow_that_cannot_be_divided_names_the_stage():
    ds = df.MapData(df.FilterData(Numbers(), lambda dp: True), lambda dp: dp)
    with pytest.raises(DataFlowError, match=r"FilterData.*num_proc=1.*put FilterData above.*duplicate=True"):
        df.PrefetchData(ds, num_proc=2)


def test_a_module_that_cannot_be_preloaded():
    with pytest.raises(Exception, match="no_such_module_at_all"):
        values(df.PrefetchData(Numbers(), preload=["no_such_module_at_all"]))
