"""Actors and machines that die, hang or come late: the same data, or one clear error, and nothing left running."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap
import time

import cloudpickle
import numpy as np
import psutil
import pytest
import ray

import flowtrain.dataflow as df
from flowtrain.utils.errors import WorkerDied, WorkerTimeout

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # actors cannot import the tests
pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.usefixtures("cluster")]  # one for all


def numbers(count, function=lambda dp: dp):
    return df.MapData(df.DataFromList([[n, np.full(30_000, n)] for n in range(count)]), function)


def slowly(dp):
    time.sleep(0.02)
    return dp


def crew_of(ds):
    return ds._latest._crew


def gone(pids, seconds=100):
    """Whether the processes end."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids):
            return True
        time.sleep(0.1)
    return False


def test_killed_actors_are_replaced_and_nothing_is_lost():
    ds = df.PrefetchData(numbers(150, slowly), num_proc=2, cluster=df.Ray())
    seen = []
    for number, dp in enumerate(ds):
        seen.append(dp[0])
        assert (dp[1] == dp[0]).all()
        if number in (20, 70):
            os.kill(max(crew_of(ds).pids), signal.SIGKILL)
    assert seen == list(range(150))


def test_an_actor_that_walks_a_part_is_replaced_where_it_was():
    ds = df.FilterData(numbers(120, slowly), lambda dp: dp[0] % 2 == 0)
    ds = df.PrefetchData(ds, num_proc=1, cluster=df.Ray())
    seen = []
    for number, dp in enumerate(ds):
        seen.append(dp[0])
        if number == 20:
            os.kill(crew_of(ds).pids[0], signal.SIGKILL)
    assert seen == list(range(0, 120, 2))


def test_what_was_sent_to_an_actor_that_is_killed_is_sent_again():
    beneath = df.DataFromGenerator(lambda: iter([[n, np.full(30_000, n)] for n in range(80)]))
    ds = df.MultiProcessMapData(beneath, 2, slowly, buffer_size=8, strict=True, cluster=df.Ray())
    seen = []
    for number, dp in enumerate(ds):
        seen.append(dp[0])
        if number == 20:
            os.kill(max(crew_of(ds).pids), signal.SIGKILL)
    assert seen == list(range(80))


def test_without_restart_a_killed_actor_is_an_error_that_names_it():
    ds = df.PrefetchData(numbers(100, slowly), num_proc=1, restart=False, cluster=df.Ray())
    walk = iter(ds)
    next(walk)
    pid = crew_of(ds).pids[0]
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerDied, match=rf"actor 0 of PrefetchData.*\(pid {pid}\) has ended while .*restart=True"):
        list(walk)


def test_a_datapoint_that_kills_its_actors_is_named_and_given_up():
    def fatal(dp):
        if dp[0] == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return dp

    walk = iter(df.PrefetchData(numbers(30, fatal), num_proc=2, cluster=df.Ray()))
    with pytest.raises(WorkerDied, match=r"making datapoints? .*so did the actors that took its place"):
        list(walk)


def test_an_actor_that_does_not_answer_is_an_error_in_bounded_time():
    ds = df.PrefetchData(numbers(2000, slowly), num_proc=1, timeout=5, cluster=df.Ray())
    walk = iter(ds)
    next(walk)
    os.kill(crew_of(ds).pids[0], signal.SIGSTOP)
    with pytest.raises(WorkerTimeout, match=r"does not answer.*timeout="):
        list(walk)


def test_a_machine_is_removed_and_another_one_comes_while_an_epoch_runs(cluster):
    third = cluster.add_node(num_cpus=2, object_store_memory=80 << 20, resources={"third": 2})
    cluster.wait_for_nodes()
    ds = df.PrefetchData(numbers(400, slowly), num_proc=3, cluster=df.Ray(resources={"third": 1}))
    walk = iter(ds)
    seen = [next(walk)[0] for _ in range(60)]
    crew = crew_of(ds)
    assert sum(pid > 0 for pid in crew.pids) <= 2  # there is no room for the third
    cluster.remove_node(third, allow_graceful=False)
    fourth = cluster.add_node(num_cpus=3, object_store_memory=80 << 20, resources={"third": 3})
    seen += [dp[0] for dp in walk]
    cluster.remove_node(fourth)
    assert seen == list(range(400))


def test_a_start_that_waits_says_for_what_and_ends(caplog, monkeypatch):
    monkeypatch.setattr("flowtrain.dataflow.cluster.actor_crew._TELL", 0.5)
    ds = df.PrefetchData(numbers(9), num_proc=2, cluster=df.Ray(resources={"unobtainium": 1}, start_timeout=3))
    with caplog.at_level(logging.WARNING, "flowtrain"), pytest.raises(WorkerTimeout) as caught:
        list(ds)
    said = "0 of 2 actors have started. Each wants 1 CPU and 1 unobtainium; the cluster has"
    assert said in str(caught.value) and "0 of 0 unobtainium" in str(caught.value)
    assert any(said in record.message for record in caplog.records)


def test_actors_end_with_the_walk_that_is_left():
    ds = df.PrefetchData(numbers(100), num_proc=2, cluster=df.Ray())
    walk = iter(ds)
    for _ in range(60):
        next(walk)
    pids = [pid for pid in crew_of(ds).pids if pid]
    walk.close()
    assert pids and gone(pids)


def test_actors_are_kept_for_the_next_epoch():
    ds = df.PrefetchData(numbers(30), num_proc=1, cluster=df.Ray())
    walk = iter(ds)
    next(walk)
    pids = crew_of(ds).pids
    list(walk)
    walk = iter(ds)
    next(walk)
    assert crew_of(ds).pids == pids
    walk.close()


DRIVER = """
    import os, time
    import ray
    import flowtrain.dataflow as df
    ds = df.MapData(df.DataFromList([[n] for n in range(10**6)]), lambda dp: time.sleep(0.01) or dp)
    ds = df.PrefetchData(ds, num_proc=2, cluster=df.Ray(ADDRESS))
    for dp in ds:
        if dp[0] == 40:
            print("pids", *[pid for pid in ds._latest._crew.pids if pid], flush=True)
"""


def test_a_driver_that_is_killed_leaves_no_actor(cluster):
    script = textwrap.dedent(DRIVER).replace("ADDRESS", repr(cluster.address))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        line = next(line for line in driver.stdout if line.startswith("pids"))
        driver.kill()
    pids = [int(pid) for pid in line.split()[1:]]
    assert pids and gone(pids)


def test_sigterm_stays_with_whoever_handled_it_before(cluster):
    script = f"""
        import signal
        import flowtrain.dataflow as df
        handler = lambda *_: None
        signal.signal(signal.SIGTERM, handler)
        list(df.PrefetchData(df.DataFromList([[1]]), num_proc=1, cluster=df.Ray({cluster.address!r})))
        assert signal.getsignal(signal.SIGTERM) is handler
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=800)


def test_folders_are_shipped_with_the_connection(cluster, tmp_path):
    (tmp_path / "mine.py").write_text("def triple(dp):\n    return [3 * dp[0]]\n")
    script = f"""
        import os, sys
        import flowtrain.dataflow as df
        from flowtrain.utils.errors import ConfigError
        sys.path.insert(0, {str(tmp_path)!r})
        import mine
        env = {{"working_dir": {str(tmp_path)!r}, "env_vars": {{"COLOUR": "red"}}}}
        ds = df.MapData(df.DataFromList([[n] for n in range(3)]), lambda dp: [*mine.triple(dp), os.environ["COLOUR"]])
        found = list(df.PrefetchData(ds, num_proc=1, cluster=df.Ray({cluster.address!r}, runtime_env=env)))
        assert found == [[0, "red"], [3, "red"], [6, "red"]], found
        try:
            list(df.PrefetchData(ds, num_proc=1, cluster=df.Ray(runtime_env={{"working_dir": "/"}})))
        except ConfigError as error:
            assert "connected to Ray already" in str(error) and "ray.init(runtime_env=" in str(error)
        else:
            raise AssertionError
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=800)


def test_ray_is_there_for_other_uses():
    assert ray.is_initialized()
