"""flowtrain's dataflow beside its peers.

    python bench/dataflow.py [--rounds 3] [--seconds 2] [--only CASE] [--write FILE]

Every contender runs in a process of its own, and they take turns within each round, so that what else happens on the
machine meets all alike; the table shows medians over the rounds, and medians of the rounds' ratios. CPU time per
datapoint counts all processes of a contender: on a shared machine it is the steadier figure.

Run it with ``make bench``, in an environment that has the peers (bench/requirements.txt). A peer that is missing is a
row "not installed", one that fails a row "failed".
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import threading
from importlib import metadata
from pathlib import Path

from measuring import Run

_BOUND = 60  # seconds for one turn
CONTENDERS = Path(__file__).with_name("contenders.py")

# the peers of each kind of case, in the order of their turns
OF_BATCHES = ["tensorpack", "torch", "grain"]
OF_PICTURES = ["tensorpack", "tensorpack_threads", "torch", "grain", "grain_threads"]
OF_PICTURES += ["tfdata_numpy", "keras", "keras_numpy", "webdataset"]
OF_CROPS = ["limit_cv2", "flowtrain", "flowtrain_threads", "flowtrain_scaled"]
OF_CROPS += ["tfdata_fused", "dali", "torch", "grain", "grain_threads", "tensorpack"]

# case -> (title, unit, contenders in the order of their turns)
CASES: dict[str, tuple[str, str, list[str]]] = {
    "transport-uint8": (
        "Hand-over of 6.3 MB uint8 batches",
        "batches",
        ["limit_memcpy", "flowtrain", *OF_BATCHES],
    ),
    "transport-float32": (
        "Hand-over of 25 MB float32 batches",
        "batches",
        ["limit_memcpy", "flowtrain", *OF_BATCHES],
    ),
    "tiny": (
        "Tiny datapoints (28 x 28 float32, label), batched 128",
        "datapoints",
        ["flowtrain", "tensorpack", "tensorpack_batched", "torch", "grain"],
    ),
    "jpeg": (
        "JPEG (500 to 1600 px) -> 256 x 256 -> Lab -> batches of 32",
        "pictures",
        ["limit_cv2", "flowtrain", "flowtrain_threads", "flowtrain_scaled", *OF_PICTURES, "tfdata_native"],
    ),
    "jpeg-busy": (
        "The same, with a consumer that spins 60 ms in Python per batch",
        "pictures",
        ["flowtrain", "flowtrain_scaled", *OF_PICTURES],
    ),
    "imagenet": (
        "ImageNet's recipe: JPEG of 500 x 375 -> random window -> 224 x 224 -> batches of 32",
        "pictures",
        OF_CROPS,
    ),
    "imagenet-720": ("The same from JPEGs of 1280 x 720", "pictures", OF_CROPS),
    "arrays": (
        "In-memory arrays (28 x 28), scaled and batched 128, one process",
        "datapoints",
        ["limit_numpy", "flowtrain", "tensorpack", "torch", "grain", "tfdata_numpy", "keras", "keras_numpy"],
    ),
    "frameworks": (
        "In-memory arrays (28 x 28), scaled and batched 128, as tensors of each framework, one process",
        "datapoints",
        ["flowtrain_torch", "torch", "flowtrain_keras", "keras", "flowtrain_jax", "jax"],
    ),
    "frameworks-jpeg": (
        "JPEG -> 256 x 256 -> Lab -> batches of 32 as tensors, 2 workers",
        "pictures",
        ["flowtrain_torch", "torch", "flowtrain_keras", "keras"],
    ),
    "own": ("flowtrain alone", "", ["own_figures"]),
}

TITLES = {
    "limit_memcpy": "limit: memcpy in and out, one process",
    "limit_cv2": "limit: the same work by cv2 in 2 bare processes",
    "flowtrain": "**flowtrain**",
    "flowtrain_threads": "flowtrain, MultiThreadRunner",
    "flowtrain_scaled": "flowtrain, scaled decoding (min_size=256 or 224)",
    "tensorpack": "Tensorpack, MultiProcessRunnerZMQ",
    "tensorpack_batched": "Tensorpack, batched in its workers",
    "tensorpack_threads": "Tensorpack, MultiThreadMapData",
    "torch": "torch DataLoader, processes",
    "grain": "grain, processes",
    "grain_threads": "grain, threads",
    "tfdata_numpy": "tf.data, numpy_function",
    "tfdata_native": "tf.data, native operations",
    "tfdata_fused": "tf.data, decode_and_crop_jpeg",
    "dali": "NVIDIA DALI on the processor, image_random_crop",
    "keras": "Keras PyDataset with threads, as fit reads it",
    "keras_numpy": "Keras PyDataset with threads, as its JAX backend reads it",
    "webdataset": "webdataset, WebLoader",
    "flowtrain_torch": "**flowtrain**, to_torch",
    "flowtrain_keras": "**flowtrain**, to_keras, as fit reads it",
    "flowtrain_jax": "**flowtrain**, to_jax",
    "jax": "JAX: NumPy's indexing, jnp.asarray",
}
# In the cases of frameworks: peer -> the row of flowtrain that its rate is compared with.
OURS = {"torch": "flowtrain_torch", "keras": "flowtrain_keras", "jax": "flowtrain_jax"}
IN_ONE_PROCESS = {
    "limit_numpy": "limit: NumPy's indexing alone",
    "flowtrain": "**flowtrain**, get_batch",
    "tensorpack": "Tensorpack",
    "torch": "torch DataLoader",
    "grain": "grain, batch then map",
    "tfdata_numpy": "tf.data, batch then map",
    "keras": "Keras PyDataset, as fit reads it",
    "keras_numpy": "Keras PyDataset, as its JAX backend reads it",
}
PACKAGE = {
    "tfdata": "tensorflow",
    "dali": "nvidia.dali",
    "tensorpack": "tensorpack",
    "torch": "torch",
    "grain": "grain",
    "keras": "keras",
    "webdataset": "webdataset",
    "jax": "jax",
}


def package_of(name: str) -> str | None:
    return PACKAGE.get(name.split("_")[0])


def installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # not even the package around it
        return False


def run(case: str, name: str, seconds: float) -> dict | str:
    """One contender's turn in a process of its own: its figures, "not installed" or "failed"."""
    package = package_of(name)
    if package and not installed(package):
        return "not installed"
    process = subprocess.Popen(
        [sys.executable, str(CONTENDERS), case, name, str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"},  # compiled once, as installed ones
    )
    result: dict | str = "failed"
    bound = threading.Timer(_BOUND, os.killpg, (process.pid, signal.SIGKILL))
    bound.start()
    try:
        for line in process.stdout or ():
            if line.startswith("RESULT "):
                result = json.loads(line.removeprefix("RESULT "))
                break
        process.wait(2 if isinstance(result, dict) else 1)
    except subprocess.TimeoutExpired:
        pass
    finally:
        bound.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its session: workers that it left behind would slow the next turns
        _, errors = process.communicate()
    if result == "failed":
        sys.stderr.write(f"{case} {name} failed:\n{errors[-2000:]}\n")
    return result


def measure(cases: list[str], rounds: int, seconds: float) -> dict[str, dict[str, list]]:
    results: dict[str, dict[str, list]] = {case: {name: [] for name in CASES[case][2]} for case in cases}
    for turn in range(rounds):
        for case in cases:
            for name in CASES[case][2]:
                before = results[case][name]
                if before and isinstance(before[0], str):
                    continue  # not installed or failed in the first round: it will again
                outcome = run(case, name, seconds)
                before.append(outcome)
                shown = outcome if isinstance(outcome, str) else {k: float(f"{v:.4g}") for k, v in outcome.items()}
                print(f"round {turn + 1}, {case}, {name}: {shown}", flush=True)
    return results


def median(values: list[float]) -> float:
    return statistics.median(values) if values else float("nan")


def table(case: str, results: dict[str, list]) -> str:
    """One case as a table in Markdown."""
    title, unit, names = CASES[case]
    if case == "own":
        return own_table(results["own_figures"])
    good = {name: [r for r in results[name] if isinstance(r, dict)] for name in names}
    frameworks = case.startswith("frameworks")
    ours = good["flowtrain_torch" if frameworks else "flowtrain"]
    transport, crops = case.startswith("transport"), case.startswith("imagenet")
    size = 32 * 256 * 256 * 3 * (1 if case.endswith("uint8") else 4) / 1e9
    head = (
        f"| {title} | {unit}/s | "
        + ("GB/s | " if transport else "")
        + "CPU per "
        + unit.rstrip("s").replace("batche", "batch")
        + " | flowtrain's rate to this |"
        + (" its CPU to flowtrain's |" if crops else "")
    )
    lines = [head, "| --- |" + " ---: |" * (head.count("|") - 2)]
    titles = IN_ONE_PROCESS if case == "arrays" else TITLES
    for name in names:
        if not good[name]:
            reason = results[name][0] if results[name] else "not run"
            lines.append(f"| {titles[name]} | {reason} |" + " |" * (head.count("|") - 3))
            continue
        rate, cpu = median([r["rate"] for r in good[name]]), median([r["cpu_ms"] for r in good[name]])
        own = good[OURS.get(name, name)] if frameworks else ours
        ratio = median([a["rate"] / b["rate"] for a, b in zip(own, good[name], strict=False)])
        gigabytes = f"{rate * size:.1f} | " if transport else ""
        more = median([b["cpu_ms"] / a["cpu_ms"] for a, b in zip(ours, good[name], strict=False)])
        lines.append(
            f"| {titles[name]} | {rate:,.0f} | {gigabytes}{amount(cpu)} | {ratio:.2f} |"
            + (f" {more:.2f} |" if crops else "")
        )
    if transport and ours:
        lines.append(f"\nThe parent's own CPU per batch: {median([r['own_us'] for r in ours]):.0f} us.")
    return "\n".join(lines)


def amount(ms: float) -> str:
    return f"{ms:.2f} ms" if ms >= 0.1 else f"{1e3 * ms:.2f} us"


def own_table(results: list) -> str:
    good = [r for r in results if isinstance(r, dict)]

    def of(key: str) -> float:
        return median([r[key] for r in good])

    return "\n".join(
        [
            "| flowtrain alone | measured | target |",
            "| --- | ---: | ---: |",
            f"| first batch of 32 pictures after iter(), 2 workers, a fresh process | {of('first'):.2f} s | 0.5 s |",
            f"| the same for a second flow, while the first one's workers fill their queue | {of('again'):.2f} s | |",
            f"| memory of a worker (PSS), a flow without data | {of('pss_mb'):.0f} MB | 60 MB |",
            f"| serial overhead of a chain of 5 stages, per datapoint | {of('overhead_us'):.1f} us | 5 us |",
        ]
    )


def machine() -> str:
    model = "unknown processor"
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0] if names else model
    return f"{os.cpu_count()} cores of {model}, {platform.system()}, Python {platform.python_version()}"


def versions() -> str:
    found = []
    for name in (
        "numpy",
        "opencv-python-headless",
        "tensorpack",
        "torch",
        "grain",
        "tensorflow",
        "keras",
        "webdataset",
        "nvidia-dali-cuda120",
    ):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(f"{name} not installed")
    return ", ".join(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--only", choices=list(CASES), action="append")
    parser.add_argument("--write", type=Path, help="write the tables into this Markdown file")
    parser.add_argument("--save", type=Path, help="keep the raw figures in this JSON file")
    args = parser.parse_args()
    cases = args.only or list(CASES)
    run_of_all = Run()
    results = measure(cases, args.rounds, args.seconds)
    if args.save:
        args.save.write_text(json.dumps(results))
    text = "\n\n".join(table(case, results[case]) for case in cases)
    run_of_all.publish(f"{machine()}; {versions()}. {args.rounds} rounds of {args.seconds:g} s each", text, args.write)


if __name__ == "__main__":
    main()
