"""Reads the folder of a run. Each of its files may be missing, truncated or still being written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..monitors.jsonl import read_jsonl
from ..utils.errors import ConfigError, first_few
from ..utils.run_status import status_of
from ..utils.storage import local_only

__all__ = ["Checkpoint", "Epoch", "RunFolder", "best", "find_runs", "higher_is_better"]

_MARKS = ("config.json", "metrics.jsonl", "log.txt")  # a folder with one of these files holds a run
_HIGHER = re.compile(  # names of scalars of which higher values are better
    r"(^|[_/-])(acc|accuracy|psnr|ssim|iou|miou|f1|auc|ap|map|precision|recall|score|reward|dice|bleu|r2|kappa)($|[_/-]|\d)"
)
# Digits at the end, after a name that a separator may end: "export0012.jpg" and "export_12.png" are both "export".
_NUMBERED = re.compile(r"(.*?)[-_]?(\d+)\.(png|jpe?g)", re.IGNORECASE)
_RATES = ("steps_per_second", "samples_per_second")  # scalars that are no result of a run


@dataclass(frozen=True)
class Epoch:
    """When an epoch ended (Unix time), and its seconds by what they were spent on (steps, data, callbacks, saving)."""

    epoch: int
    step: int
    time: float
    seconds: dict[str, float]


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint, as described by its manifest."""

    name: str
    epoch: int | None
    step: int | None
    saved: str
    megabytes: float


@dataclass
class RunFolder:
    """The content of a run's folder, read when the object is made.

    Args:
        path: The folder.

    Raises:
        ConfigError: There is no run in it.

    Example:
        >>> run = RunFolder(Path("train_log/colorize"))                      # doctest: +SKIP
        >>> run.status, run.epoch, run.history["cost"][-1]               # doctest: +SKIP
        ('finished', 40, (800, 0.0097))
    """

    path: Path
    status: str = ""
    note: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=dict)
    history: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    """Name of a scalar -> (step, value)."""
    times: dict[int, float] = field(default_factory=dict)
    """Step -> Unix time at which its scalars were logged."""
    epochs: list[Epoch] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    profile: dict[str, Any] | None = None
    """The measurements of ``explain``, if the run has the callback `DataProfile`."""
    started: float | None = None
    ended: float | None = None

    def __post_init__(self) -> None:
        self.path = run_path(self.path)
        if not is_run(self.path):
            near = [str(run) for run in find_runs(self.path)] if self.path.is_dir() else []
            listed = f" These are: {first_few(near, 8)}." if near else ""
            raise ConfigError(f"{self.path} is no folder of a run: it has none of {', '.join(_MARKS)}.{listed}")
        found = status_of(self.path)
        self.status, self.note = found["status"], found["note"]
        self.config = _newest_json(self.path, "config")
        self.versions = _newest_json(self.path, "versions")
        self.history = _history(self.path / "metrics.jsonl")
        self.profile = _json(self.path / "data.json") or None
        self._read_timeline()
        self.checkpoints = sorted(
            _checkpoints(self.path / "checkpoints"), key=lambda found: (found.step or 0, found.name)
        )
        self.started = _first_time(self.path)
        self.ended = found["time"] or (self.epochs[-1].time if self.epochs else None)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    @property
    def epoch(self) -> int:
        """The last finished epoch, 0 before the first."""
        return self.epochs[-1].epoch if self.epochs else max((c.epoch or 0 for c in self.checkpoints), default=0)

    @property
    def step(self) -> int:
        """The last step at which something was logged."""
        logged = max((values[-1][0] for values in self.history.values() if values), default=0)
        return max(logged, self.epochs[-1].step if self.epochs else 0)

    @property
    def trained(self) -> float:
        """Seconds of all finished epochs."""
        return sum(sum(epoch.seconds.values()) for epoch in self.epochs)

    def results(self) -> dict[str, dict[str, float]]:
        """For each scalar but rates (of learning, of speed) and the loss scale: last value, best value and its step."""
        found = {}
        for name, values in self.history.items():
            if name in _RATES or "learning_rate" in name or name == "loss_scale" or not values:
                continue
            step, value = best(name, values)
            found[name] = {"last": values[-1][1], "best": value, "best_step": step}
        return found

    def pictures(self) -> dict[str, list[tuple[int, Path]]]:
        """Numbered pictures in the folder itself, such as ``export0012.jpg``: name -> (number, path) pairs."""
        found: dict[str, list[tuple[int, Path]]] = {}
        for path in sorted(self.path.iterdir()):
            match = _NUMBERED.fullmatch(path.name)
            if match and match[1] and not path.name.startswith("."):
                found.setdefault(match[1], []).append((int(match[2]), path))
        # One numbered file beside others that form series is hardly a series of its own.
        return {name: sorted(pairs) for name, pairs in found.items() if len(pairs) > 1 or len(found) == 1}

    def _read_timeline(self) -> None:
        for line in _lines(self.path / "timeline.jsonl"):
            try:
                step, moment = int(line["step"]), float(line["time"])
                if "epoch" in line:
                    self.epochs.append(Epoch(int(line["epoch"]), step, moment, dict(line.get("seconds", {}))))
                else:
                    self.times.setdefault(step, moment)  # a step has two lines where a run was resumed in it
            except (KeyError, TypeError, ValueError):
                continue


def run_path(path: str | Path) -> Path:
    """The path of a run's folder, or of a folder of runs, on this machine.

    Raises:
        NotLocal: It is a URL.
    """
    return Path(local_only(path, "the folder of a run", "Copy it here first: aws s3 sync, gcloud storage rsync, ..."))


def is_run(path: Path) -> bool:
    """Whether a folder holds a run."""
    return any((path / name).is_file() for name in _MARKS)


def find_runs(folder: str | Path) -> list[Path]:
    """All runs in a folder and its subfolders, sorted by path; the folders inside a run are not searched."""
    folder = run_path(folder)
    if is_run(folder):
        return [folder]
    try:
        children = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:
        return []
    return [run for child in children for run in find_runs(child)]


def higher_is_better(name: str) -> bool:
    """Whether higher values of a scalar are better, guessed from its name (accuracy, psnr, f1, ...)."""
    # "accuracy_error" is what is missing of an accuracy.
    return bool(_HIGHER.search(name.lower())) and "error" not in name.lower()


def best(name: str, values: list[tuple[int, float]]) -> tuple[int, float]:
    """The (step, value) pair with the best value of a scalar; NaN only if all values are NaN."""
    known = [pair for pair in values if pair[1] == pair[1]] or values[:1]  # NaN, alone unequal to itself, is never best
    return (max if higher_is_better(name) else min)(known, key=lambda pair: pair[1])


def _history(path: Path) -> dict[str, list[tuple[int, float]]]:
    try:
        return read_jsonl(path)
    except (OSError, ValueError, KeyError):
        return {}


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _newest_json(folder: Path, name: str) -> dict[str, Any]:
    """The newest of ``config.json``, ``config-2.json``, ...: a run that is resumed with changes writes another one."""
    number = 2  # counted and not sorted by name, which has config-10 before config-2
    path = folder / f"{name}.json"
    while (folder / f"{name}-{number}.json").exists():
        path = folder / f"{name}-{number}.json"
        number += 1
    return _json(path)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return
    for line in text.split("\n")[:-1]:  # the last line has no newline: it is empty, or still being written
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found


def _checkpoints(folder: Path) -> Iterator[Checkpoint]:
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        # A name with a dot is of a checkpoint that is still being written, or was when the run was killed.
        manifest = _json(path / "manifest.json") if not path.name.startswith(".") else {}
        if manifest:
            files = manifest.get("files", {})
            size = sum(entry.get("bytes", 0) for entry in files.values() if isinstance(entry, dict))
            yield Checkpoint(
                path.name,
                manifest.get("epoch"),
                manifest.get("global_step"),
                str(manifest.get("saved", "")),
                size / 1e6,
            )


def _first_time(folder: Path) -> float | None:
    """When the run began, as Unix time."""
    # By config.json, which is written at the start and never again; the others have the time of their last line.
    for name in _MARKS:
        try:
            return (folder / name).stat().st_mtime
        except OSError:
            continue
    return None
