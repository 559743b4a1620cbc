"""The content of a report as plain JSON values, which the page's script draws."""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..monitors.curves import base_name
from .events import Events, Histogram, read_events, spread
from .folder import RunFolder, higher_is_better

__all__ = ["content_of"]

_POINTS = 4000  # most points of a curve; more than a screen has pixels
_TAGS = 24  # most kinds of pictures, and of histograms, of a run: the page holds all of them, as base64
_BINS = 60  # of a histogram's grid


def content_of(folders: Sequence[Path], images: int = 24, side: int = 384) -> dict[str, Any]:
    """Read runs for a report.

    Args:
        folders: Log folders of the runs.
        images: How many pictures of a kind to keep of each run, evenly spaced over its steps.
        side: Pixels of the longer side to which larger pictures are shrunk.

    Returns:
        Values that JSON can hold: no NaN, no arrays.

    Raises:
        ConfigError: A folder holds no run.
    """
    runs = [RunFolder(Path(folder)) for folder in folders]
    names = _distinct_names(runs)
    return {
        "title": " · ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else ""),
        "made": time.strftime("%F %T"),
        "panels": _panels(runs),
        "higher": sorted({name for run in runs for name in run.history if higher_is_better(name)}),
        "runs": [_run(run, name, images, side) for run, name in zip(runs, names, strict=True)],
        "differences": _differences(runs),
    }


def _distinct_names(runs: Sequence[RunFolder]) -> list[str]:
    """The folders' names, with as many parent folders as make them differ."""
    paths = [run.path.resolve() for run in runs]
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(set(paths)):
            return names
    return [str(path) for path in paths]


def _panels(runs: Sequence[RunFolder]) -> list[dict[str, Any]]:
    """One plot for each scalar, with ``validation_x`` in the plot of ``x``; those with several curves come first."""
    panels: dict[str, list[str]] = {}
    for name in sorted({name for run in runs for name in run.history}):
        panels.setdefault(base_name(name), []).append(name)
    measured = [title for title, names in panels.items() if len(names) > 1]
    # The cost first of the others, and the learning rates last: they are set, not measured.
    order = sorted(panels, key=lambda title: (title not in measured, title != "cost", "learning_rate" in title, title))
    return [{"title": title, "names": sorted(panels[title], key=len)} for title in order]


def _run(run: RunFolder, name: str, images: int, side: int) -> dict[str, Any]:
    events = read_events(run.path / "tensorboard", images)
    return {
        "name": name,
        "path": str(run.path),
        "status": run.status,
        "note": run.note,
        "epoch": run.epoch,
        "epochs": run.config.get("max_epoch"),
        "step": run.step,
        "started": run.started and time.strftime("%F %H:%M", time.localtime(run.started)),
        # Without a timeline the time on the clock, which counts the time between a kill and the resume as well.
        "seconds": run.trained or ((run.ended or time.time()) - run.started if run.started else None),
        "curves": {name: _curve(run, name, events) for name in run.history},
        "results": {
            name: {key: _number(value) for key, value in found.items()} for name, found in run.results().items()
        },
        "config": {key: _text(value) for key, value in run.config.items()},
        "environment": _environment(run.versions),
        "epoch_times": [
            {"epoch": epoch.epoch, "step": epoch.step, "seconds": epoch.seconds}
            for epoch in run.epochs
            if epoch.seconds
        ],
        "checkpoints": [
            {**asdict(found), "megabytes": round(found.megabytes, 2), "values": _values_at(run, found.step)}
            for found in run.checkpoints
        ],
        "pictures": [*_logged_pictures(events, side), *_own_pictures(run, images, side)],
        "histograms": _histograms(events),
        "profile": run.profile,
    }


def _curve(run: RunFolder, name: str, events: Events) -> dict[str, Any]:
    pairs = run.history[name]
    kept, every = _thinned(pairs)
    walls = run.times or {step: wall for step, _, wall in events.scalars.get(name, ())}  # runs without timeline.jsonl
    first = min(walls.values(), default=0.0)
    times = [round(walls[step] - first, 2) if step in walls else None for step, _ in kept]
    curve: dict[str, Any] = {"x": [step for step, _ in kept], "y": [_number(value) for _, value in kept]}
    if any(moment is not None for moment in times):
        curve["t"] = times
    if every > 1:
        curve["of"] = len(pairs)
    return curve


def _thinned(pairs: list[tuple[int, float]]) -> tuple[list[tuple[int, float]], float]:
    """At most about `_POINTS` points of a curve, and how many points each kept pair stands for (1: all are kept).

    The minimum and the maximum of each stretch are kept, so that no peak is lost (sampling evenly would lose them), and
    its first NaN or infinity, so that the gap is not lost either.
    """
    every = len(pairs) / (_POINTS / 2)
    if every <= 2:
        return pairs, 1
    kept: list[int] = []
    for start in range(_POINTS // 2):
        stretch = range(round(start * every), round((start + 1) * every))
        # Apart from the others: nothing is less or greater than NaN, so min and max return it if it comes first.
        gaps = [index for index in stretch if not math.isfinite(pairs[index][1])]
        rest = [index for index in stretch if math.isfinite(pairs[index][1])] or gaps
        kept += [*gaps[:1], min(rest, key=lambda n: pairs[n][1]), max(rest, key=lambda n: pairs[n][1])]
    return [pairs[index] for index in sorted({0, len(pairs) - 1, *kept})], every


def _differences(runs: Sequence[RunFolder]) -> list[dict[str, Any]]:
    """The settings (configuration, command, versions) in which the runs differ, with each run's value."""
    if len(runs) < 2:
        return []
    settings = [{**run.config, **_environment(run.versions)} for run in runs]
    rows = []
    for key in dict.fromkeys(key for one in settings for key in one):
        values = [_text(one[key]) if key in one else "" for one in settings]
        if len(set(values)) > 1 and key != "log_dir":  # every run has its own folder
            rows.append({"name": key, "values": values})
    return rows


def _environment(versions: dict[str, Any]) -> dict[str, str]:
    found = {}
    for key, value in versions.items():
        if key == "command" and isinstance(value, list):
            found[key] = " ".join(map(str, value))
        elif isinstance(value, dict):
            found |= {str(name): _text(entry) for name, entry in value.items()}
        elif value is not None:
            found[key] = _text(value)
    return found


def _values_at(run: RunFolder, step: int | None) -> dict[str, Any]:
    """The last value of each scalar that was logged at or before a step."""
    found = {}
    for name in run.results():
        before = [value for at, value in run.history[name] if step is not None and at <= step]
        if before:
            found[name] = _number(before[-1])
    return found


def _logged_pictures(events: Events, side: int) -> list[dict[str, Any]]:
    return [
        {"name": tag, "unit": "step", "at": [p.step for p in shown], "src": [_source(p.data, side) for p in shown]}
        for tag, shown in list(events.pictures.items())[:_TAGS]
    ]


def _own_pictures(run: RunFolder, images: int, side: int) -> list[dict[str, Any]]:
    found = []
    for name, numbered in list(run.pictures().items())[:_TAGS]:
        paths = dict(numbered)
        at = spread(sorted(paths), images)
        # Twice the side: the page draws them twice as wide, as they are often several pictures side by side.
        sources = [_source(paths[number].read_bytes(), 2 * side) for number in at]
        found.append({"name": name, "unit": "epoch", "at": at, "src": sources})
    return found


def _source(encoded: bytes, side: int) -> str:
    """A picture as a data URL: a small file as it is, others as JPEG (with alpha or 16 bits: PNG), shrunk to fit."""
    picture = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED) if encoded else None
    if picture is None:
        return ""
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    elif len(encoded) < 20_000:
        return _data_url(encoded)
    alpha = picture.ndim == 3 and picture.shape[2] == 4  # JPEG has neither alpha nor 16 bits: OpenCV would drop them
    kind = ".png" if alpha or picture.dtype != np.uint8 else ".jpg"
    done, small = cv2.imencode(kind, picture, [] if kind == ".png" else [cv2.IMWRITE_JPEG_QUALITY, 88])
    return _data_url(small.tobytes()) if done else ""


def _data_url(data: bytes) -> str:
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _histograms(events: Events) -> list[dict[str, Any]]:
    """Histograms of each tag as a grid: the share of the values in each of `_BINS` common bins, by step."""
    grids = []
    for tag, histograms in list(events.histograms.items())[:_TAGS]:
        low = min(float(h.edges[0]) for h in histograms)
        high = max(float(h.edges[-1]) for h in histograms)
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            continue  # one value at all steps, or damaged: there is no spread to draw
        edges = np.linspace(low, high, _BINS + 1)  # common to all steps, as a heat map needs
        shares = [_rebinned(histogram, edges) for histogram in histograms]
        middles = (edges[:-1] + edges[1:]) / 2
        grids.append(
            {
                "name": tag,
                "steps": [histogram.step for histogram in histograms],
                "values": _rounded(middles),
                "shares": [_rounded(column) for column in np.transpose(shares)],
            }
        )
    return grids


def _rebinned(histogram: Histogram, edges: np.ndarray) -> np.ndarray:
    """The share of a histogram's values in each of other bins, assuming that values are uniform within a bucket."""
    # That assumption makes the cumulative distribution linear between edges: interpolate it, then take differences.
    total = histogram.counts.sum()
    if not total:
        return np.zeros(len(edges) - 1)
    below = np.concatenate([[0.0], np.cumsum(histogram.counts)]) / total
    return np.diff(np.interp(edges, histogram.edges, below, left=0.0, right=1.0))


def _rounded(values: Iterable[float]) -> list[float]:
    """Four significant digits of each: more than a colour can show, in half the text."""
    return [float(f"{value:.4g}") for value in values]


def _number(value: float) -> float | None:
    """The value, or None (a gap in the curve) for NaN and infinity, which JSON does not have."""
    return value if math.isfinite(value) else None


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return "" if value is None else str(value)
