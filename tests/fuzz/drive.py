"""Run fuzz targets, each bounded in memory and time: ``python tests/fuzz/drive.py codec tar --seconds 60``.

With atheris (coverage-guided; one target in a process) or hypothesis (changes of seeds). The first input for which a
target does anything but return, or raise an error that it documents, ends the run; it lies in ``found/`` then. Move it
to ``corpus/TARGET/`` once it is mended: every run begins with what is there.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib.util
import os
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

HERE = Path(__file__).parent
FOUND = HERE / "found"
sys.path.insert(0, str(HERE))

PLAIN = ["codec", "wire", "tfrecord", "example", "tensor", "npz", "lmdb", "tar", "idx", "csv", "lines", "events"]
OF_TENSORFLOW = ["manifest", "bundle", "graph"]
SECONDS = 20  # for one input
MEMORY = 1 << 30  # bytes more than what the process has when it begins
LONGEST = 1 << 16  # bytes of an input that atheris makes


def find_target(name: str):
    if name in PLAIN:
        import targets
    else:
        import tensorflow_targets as targets
    return targets.TARGETS[name]


def bound_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Runner:
    """One target; keeps the input that it is at, so that one which ends the process is known too."""

    def __init__(self, name: str) -> None:
        from kit import corpus

        self.name, self.target, self.count = name, find_target(name), 0
        self.seeds = [*self.target.seeds(), *corpus(name)]
        FOUND.mkdir(exist_ok=True)
        self.current = FOUND / f"{name}-{os.getpid()}"
        self._file = open(self.current, "wb+")  # noqa: SIM115
        warnings.simplefilter("error", RuntimeWarning)  # NumPy's, where a number was lost on the way
        bound_memory()

    def __call__(self, data: bytes) -> None:
        self.count += 1
        os.ftruncate(self._file.fileno(), len(data))
        os.pwrite(self._file.fileno(), data, 0)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        try:
            self.target.run(data)
        except self.target.allowed:
            pass
        finally:
            faulthandler.cancel_dump_traceback_later()

    def finish(self) -> None:
        self._file.close()
        self.current.unlink(missing_ok=True)


def with_hypothesis(run: Runner, examples: int, seconds: float | None) -> None:
    from hypothesis import HealthCheck, given, settings
    from kit import changed_seeds

    for seed in run.seeds:
        run(seed)
    begun, round_number = time.monotonic(), 0
    while True:
        profile = settings(
            max_examples=examples, deadline=None, database=None, derandomize=seconds is None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip

        @profile
        @given(changed_seeds(run.seeds))
        def look_at(data: bytes) -> None:
            run(data)

        look_at()
        round_number += 1
        if seconds is None or time.monotonic() - begun > seconds:
            return


def with_atheris(name: str, seconds: float) -> None:
    import atheris

    with atheris.instrument_imports(include=["flowtrain"]):
        run = Runner(name)
    corpus = FOUND / f"{name}-corpus"
    corpus.mkdir(exist_ok=True)
    for number, seed in enumerate(run.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup(
        [
            sys.argv[0], str(corpus), f"-max_total_time={int(seconds)}", f"-timeout={SECONDS}", f"-max_len={LONGEST}",
            f"-artifact_prefix={FOUND}/{name}-", "-rss_limit_mb=4096", "-print_final_stats=1", "-verbosity=0",
        ],
        run,
    )  # fmt: skip
    try:
        atheris.Fuzz()  # ends the process itself
    finally:
        run.finish()


def has_atheris() -> bool:
    return importlib.util.find_spec("atheris") is not None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="TARGET", help=f"{' '.join(PLAIN + OF_TENSORFLOW)}; none: all")
    parser.add_argument("--seconds", type=float, help="for each target; without it, so many examples and no longer")
    parser.add_argument("--examples", type=int, default=150)
    parser.add_argument(
        "--engine", choices=["atheris", "hypothesis"], default="atheris" if has_atheris() else "hypothesis"
    )
    args = parser.parse_args()
    names = args.names or PLAIN + OF_TENSORFLOW
    if args.seconds and args.engine == "hypothesis" and not has_atheris():
        print("atheris is not installed (pip install -e '.[fuzz]'): changes of seeds by hypothesis, without coverage")
    if args.seconds and args.engine == "atheris":
        if len(names) == 1:
            with_atheris(names[0], args.seconds)
            return 0
        command = [sys.executable, __file__, "--engine", "atheris", "--seconds", str(args.seconds)]
        return max(abs(subprocess.call([*command, name])) for name in names)
    for name in names:
        run = Runner(name)
        begun = time.monotonic()
        with_hypothesis(run, args.examples, args.seconds)
        run.finish()
        print(f"{name}: {run.count:,} inputs in {time.monotonic() - begun:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
