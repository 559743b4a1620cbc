"""Data work on many workers: processes, senders of RemoteData, Ray actors, Ray Data, tf.data service.

    python bench/cluster.py [--minutes 8] [--seconds 3] [--workers 1 2 ...] [--cases ...] [--only ray ...] [--out FILE]

All on this machine, with batches of 3 MB. ``work`` takes 40 ms of CPU for each, ``wait`` waits 50 ms for each, as a far
store does, ``light`` takes next to nothing. Each contender runs in a process of its own, in turns; the table shows
batches a second after a warmup (for ``work`` the median of three turns), and CPU time a batch of all its processes.
Turns that would begin too late to end within so many minutes are left out, those of least interest first. Needs
``flowtrain[ray]``, pyarrow and TensorFlow.
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
from measuring import Run, tree_cpu_seconds

CONTENDERS = ["local", "remote", "ray", "ray_data", "tfdata_service"]
CASES = ["work", "wait", "light"]
NAMES = dict(zip(CONTENDERS, ["local workers", "RemoteData", "Ray actors", "Ray Data", "tf.data service"], strict=True))
CORES = len(os.sched_getaffinity(0))
ROUNDS = 3  # turns of each contender in the case `work`, which compares rates on the same cores
_WAIT = 0.05  # seconds
_BATCHES = 1 << 20
_BOUND = 100  # seconds for one turn
_TURN = 20  # seconds that one takes, about, and one more for each worker


def made(case: str, index: int) -> np.ndarray:
    """Make one batch, with the case's work or wait."""
    if case == "wait":
        time.sleep(_WAIT)
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
            return [made(case, index), os.getpid()]

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
    batches = service_batches(case)
    processes = min(workers, CORES)  # several workers in each: while one waits another one runs
    for number in range(processes):
        count = len(range(number, workers, processes))
        command = [sys.executable, __file__, "--serve", dispatcher.target.split("://")[1], case, str(count)]
        subprocess.Popen(command, stdout=subprocess.DEVNULL)  # else it would hold the pipe of this turn's result open
    sharding = service.ShardingPolicy.DYNAMIC
    batches = batches.apply(service.distribute(sharding, dispatcher.target, compression=None))
    tfdata_service.keep = dispatcher  # type: ignore[attr-defined]
    return batches.prefetch(4)


def service_batches(case: str) -> Any:
    """Batches in tf.data. Workers build it too: the graph refers to its Python function by a name of the process."""
    import tensorflow as tf

    ids = tf.data.Dataset.range(_BATCHES)
    shape = made("light", 0).shape
    return ids.map(lambda n: tf.ensure_shape(tf.numpy_function(lambda n: made(case, int(n)), [n], tf.uint8), shape))


def start_ray(workers: int) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray as engine

    engine.init(
        address="local",
        num_cpus=workers + 1,
        object_store_memory=4 << 30,
        include_dashboard=False,
        logging_level="ERROR",
    )


def turn(contender: str, case: str, workers: int, seconds: float) -> dict[str, float]:
    """Measure one contender in this process."""
    began = time.perf_counter()
    batches = globals()[contender](case, workers)
    walk = iter(batches)
    batch = next(walk)
    first = time.perf_counter() - began
    seen: set[int] = set()
    warm = time.perf_counter() + 1.0 + 0.5 * workers
    while time.perf_counter() < warm or 0 < len(seen) < workers:  # until every worker that can be told apart has begun
        if isinstance(batch, list):
            seen.add(batch[1])
        batch = next(walk)
    cpu, start, count = tree_cpu_seconds(), time.perf_counter(), 0
    while time.perf_counter() < start + seconds:
        next(walk)
        count += 1
    took = time.perf_counter() - start
    return {"rate": count / took, "cpu": (tree_cpu_seconds() - cpu) / max(count, 1), "first": first}


def measured(contender: str, case: str, workers: int, seconds: float, bound: float) -> dict[str, float] | None:
    """Measure one contender in a process of its own; None if it failed."""
    command = [sys.executable, __file__, "--turn", contender, case, str(workers), str(seconds)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as p:
        try:
            out, errors = p.communicate(timeout=min(bound, _BOUND))
        except subprocess.TimeoutExpired:
            out, errors = "", "took too long"
        finally:
            subprocess.run(["pkill", "-9", "-s", str(p.pid)], check=False)  # its session: workers, senders, Ray
    lines = [line for line in out.splitlines() if line.startswith('{"rate"')]
    if not lines:
        print(f"{contender}, {case}, {workers}: failed: {errors.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return json.loads(lines[-1])


def turns(cases: list[str], names: list[str], workers: list[int] | None) -> list[tuple[str, int, str]]:
    """All turns as (case, workers, contender), the most interesting first: the last ones may find no time."""
    found = []
    if "work" in cases:
        found += [("work", n, name) for n in workers or [CORES] for _ in range(ROUNDS) for name in names]
    first = [name for name in names if name in ("local", "ray")]
    others = [name for name in names if name not in first]
    many = workers or [16, 4, 1, 8, 2]
    if "wait" in cases:
        found += [("wait", n, name) for n in many for name in first]
        found += [("wait", n, name) for n in many[:2] for name in others]
    if "light" in cases:
        found += [("light", n, name) for n in workers or [CORES] for name in names]
    if "wait" in cases:
        found += [("wait", n, name) for n in many[2:] for name in others]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", help="[as many as cores; wait: 1 2 4 8 16]")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--turn", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--send", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
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
        batches = service_batches(given.serve[1])
        config = service.WorkerConfig(dispatcher_address=given.serve[0])
        servers = [service.WorkerServer(config) for _ in range(int(given.serve[2]))]
        servers[0].join()
        del batches
        return
    run, end = Run(), time.monotonic() + 60 * given.minutes
    found: dict[tuple[str, int], dict[str, list[dict[str, float]]]] = {}
    for case, workers, name in turns(given.cases, given.only, given.workers):
        if (left := end - time.monotonic()) < _TURN + workers:
            print(f"{case}, {workers}, {name}: no time left", file=sys.stderr, flush=True)
            continue
        if (result := measured(name, case, workers, given.seconds, left)) is not None:
            found.setdefault((case, workers), {}).setdefault(name, []).append(result)
            print(case, workers, name, result, file=sys.stderr, flush=True)
    about = f"`bench/cluster.py` on {CORES} cores, Python {sys.version.split()[0]}"
    run.publish(about, table(found, given.only), given.out)


def table(found: dict[tuple[str, int], dict[str, list[dict[str, float]]]], names: list[str]) -> str:
    """Markdown: a row for each case and number of workers."""
    lines = ["| case | workers | " + " | ".join(NAMES[name] for name in names) + " | Ray actors' rate |"]
    lines += ["| --- | ---: |" + " ---: |" * len(names) + " --- |"]
    for case, workers in sorted(found, key=lambda row: (CASES.index(row[0]), row[1])):
        results = found[case, workers]
        rates = {name: statistics.median(one["rate"] for one in many) for name, many in results.items()}
        cpus = {name: statistics.median(one["cpu"] for one in many) for name, many in results.items()}
        cells = [f"{rates[name]:.1f}/s, {1e3 * cpus[name]:.1f} ms" if name in rates else "" for name in names]
        said = f"{rates['ray'] / rates['local']:.2f} of local" if {"ray", "local"} <= rates.keys() else ""
        if case == "wait" and "ray" in rates:
            said += f", {rates['ray'] * _WAIT / workers:.2f} of {workers} x {1 / _WAIT:.0f}/s"
        lines.append(f"| {case} | {workers} | " + " | ".join(cells) + f" | {said} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
