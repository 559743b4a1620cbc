"""Data work on many workers: processes, senders of RemoteData, Ray actors, Ray Data, tf.data service.

    python bench/cluster.py [--workers 1 2 4 8 16] [--cases light work wait] [--seconds 5] [--rounds 1] [--only ray ...]

All on this machine. ``light`` makes a batch of 3 MB with next to no work, ``work`` takes 40 ms of CPU for each,
``wait`` waits 50 ms for each datapoint, as a far store does. Each contender runs in a process of its own, in turns; the
table shows medians over the rounds of batches a second after a warmup, and CPU time a batch of all its processes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from measuring import tree_cpu_seconds

CONTENDERS = ["local", "remote", "ray", "ray_data", "tfdata_service"]
CASES = ["light", "work", "wait"]
_BATCHES = 1 << 20
_BOUND = 240  # seconds for one turn


def made(case: str, index: int) -> np.ndarray:
    """One batch."""
    if case == "wait":
        time.sleep(0.05)
    elif case == "work":
        end = time.thread_time() + 0.04
        while time.thread_time() < end:
            pass
    return np.full((32, 128, 256, 3), index % 251, np.uint8)


def flow(case: str) -> Any:
    import flowtrain.dataflow as df

    class Batches(df.DataFlow):
        def __len__(self) -> int:
            return _BATCHES

        def get(self, index: int, epoch: int = 0) -> list[Any]:
            return [made(case, index)]

    return Batches()


def local(case: str, workers: int) -> Iterable[Any]:
    import flowtrain.dataflow as df

    return df.PrefetchData(flow(case), num_proc=workers)


def ray(case: str, workers: int) -> Iterable[Any]:
    import flowtrain.dataflow as df

    start_ray(workers)
    return df.PrefetchData(flow(case), num_proc=workers, cluster=df.Ray())


def remote(case: str, workers: int) -> Iterable[Any]:
    import flowtrain.dataflow as df

    address = f"tcp://127.0.0.1:{20_000 + os.getpid() % 20_000}"
    for _ in range(workers):
        subprocess.Popen([sys.executable, __file__, "--send", case, address])
    return df.RemoteData(address, num_prefetch=4 + 2 * workers)


def ray_data(case: str, workers: int) -> Iterable[Any]:
    start_ray(workers)
    import ray.data

    rows = ray.data.range(1 << 14, override_num_blocks=1 << 12)
    batches = rows.map_batches(
        lambda ids: {"x": made(case, int(ids["id"][0]))[None]}, batch_size=4, concurrency=workers, num_cpus=1
    )
    return batches.iter_batches(batch_size=1, prefetch_batches=4)


def tfdata_service(case: str, workers: int) -> Iterable[Any]:
    import tensorflow as tf

    service = tf.data.experimental.service
    dispatcher = service.DispatchServer()
    address = dispatcher.target.split("://")[1]
    for _ in range(workers):
        subprocess.Popen([sys.executable, __file__, "--serve", address])
    ids = tf.data.Dataset.range(_BATCHES)
    shape = made("light", 0).shape
    batches = ids.map(lambda n: tf.ensure_shape(tf.numpy_function(lambda n: made(case, int(n)), [n], tf.uint8), shape))
    batches = batches.apply(service.distribute(service.ShardingPolicy.DYNAMIC, dispatcher.target))
    tfdata_service.keep = dispatcher  # type: ignore[attr-defined]
    return batches.prefetch(4)


def start_ray(workers: int) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray as engine

    engine.init(num_cpus=workers + 1, object_store_memory=1 << 30, include_dashboard=False, logging_level="ERROR")


def turn(contender: str, case: str, workers: int, seconds: float) -> dict[str, float]:
    """Measure, in this process."""
    began = time.perf_counter()
    batches = globals()[contender](case, workers)
    walk = iter(batches)
    next(walk)
    first = time.perf_counter() - began
    while contender == "ray" and not all(batches._latest._crew.pids):  # actors join in as they have started
        next(walk)
    warm = time.perf_counter() + 1.0 + 0.2 * workers
    while time.perf_counter() < warm:
        next(walk)
    cpu, start, count = tree_cpu_seconds(), time.perf_counter(), 0
    while time.perf_counter() < start + seconds:
        next(walk)
        count += 1
    took = time.perf_counter() - start
    return {"rate": count / took, "cpu": (tree_cpu_seconds() - cpu) / max(count, 1), "first": first}


def measured(contender: str, case: str, workers: int, seconds: float) -> dict[str, float] | None:
    """The same in a process of its own; None where it failed."""
    command = [sys.executable, __file__, "--turn", contender, case, str(workers), str(seconds)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as p:
        try:
            out, errors = p.communicate(timeout=_BOUND)
        except subprocess.TimeoutExpired:
            out, errors = "", "took too long"
        finally:
            subprocess.run(["pkill", "-9", "-s", str(p.pid)], check=False)  # its whole session
    lines = [line for line in out.splitlines() if line.startswith('{"rate"')]
    if not lines:
        print(f"{contender}, {case}, {workers}: failed: {errors.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return json.loads(lines[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--turn", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--send", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    given = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    if given.turn:
        contender, case, workers, seconds = given.turn
        print(json.dumps(turn(contender, case, int(workers), float(seconds))), flush=True)
        os._exit(0)  # the parent ends what it has started
    if given.send:
        from flowtrain.dataflow import send_dataflow

        send_dataflow(flow(given.send[0]), given.send[1])
        return
    if given.serve:
        import tensorflow as tf

        service = tf.data.experimental.service
        service.WorkerServer(service.WorkerConfig(dispatcher_address=given.serve)).join()
        return
    print(
        "| case | workers | contender | batches/s | CPU per batch | to local |\n"
        + "| --- | ---: | --- | ---: | ---: | ---: |"
    )
    for case in given.cases:
        for workers in given.workers:
            table(case, workers, given)


def table(case: str, workers: int, given: argparse.Namespace) -> None:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in given.only}
    for _ in range(given.rounds):
        for name in given.only:
            if (result := measured(name, case, workers, given.seconds)) is not None:
                found[name].append(result)
    middle = {name: statistics.median(r["rate"] for r in results) for name, results in found.items() if results}
    for name, results in found.items():
        if not results:
            print(f"| {case} | {workers} | {name} | failed | | |", flush=True)
            continue
        cpu = statistics.median(r["cpu"] for r in results)
        ratio = f"{middle[name] / middle['local']:.2f}" if "local" in middle else ""
        print(f"| {case} | {workers} | {name} | {middle[name]:,.1f} | {1e3 * cpu:.1f} ms | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
