"""What ``ds.explain()`` returns: the cost of each stage, and the table that is printed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

__all__ = ["Explanation", "StageCost"]

_WIDEST = 50  # characters of a stage's name


@dataclasses.dataclass(frozen=True)
class StageCost:
    """The measured cost of one stage."""

    name: str
    """The stage."""
    where: str
    """``"here"``, in this process, or how many workers make it: ``"2 workers"``."""
    datapoints: int
    """How many of its datapoints were measured."""
    ms: float
    """Milliseconds for one of its own datapoints, the stages beneath not included."""
    ms_per_output: float
    """Milliseconds for one datapoint of the whole flow."""
    cpu_share: float
    """The part of that time in which a core was busy, from 0 to 1; the rest is waiting, for a disk or a network."""
    share: float
    """The stage's part of all the time that is spent on one datapoint of the flow, from 0 to 1."""
    queue: float | None
    """For a parallel stage, how often a datapoint was ready when it was asked for, from 0 to 1."""
    depth: int
    """How many stages above it have several inputs: its indentation in the table."""
    advice: str = "make it cheaper"
    """What to do if this stage is the limit."""


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What ``ds.explain()`` found."""

    stages: list[StageCost]
    """From the source up to the last stage, then the consumer if there was one."""
    per_second: float
    """Datapoints of the flow per second, the first not counted."""
    first_seconds: float
    """How long the first datapoint took, with the start of the workers."""
    waited: float
    """The part of the time in which the consumer waited for workers, from 0 to 1."""
    verdict: str
    """One sentence: what is the limit, and what to do."""
    notes: tuple[str, ...] = ()
    """Remarks on single stages, such as why JPEGs are decoded whole."""

    def __str__(self) -> str:
        rows = [("stage", "made", "datapoints", "ms each", "ms per output", "share", "queue")]
        for stage in self.stages:
            queue = "" if stage.queue is None else f"{stage.queue:.0%} ready"
            rows.append(
                (
                    "  " * stage.depth + _cut(stage.name),
                    stage.where,
                    str(stage.datapoints),
                    _ms(stage.ms),
                    _ms(stage.ms_per_output),
                    f"{stage.share:.0%}",
                    queue,
                )
            )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(_aligned(row, widths)).rstrip() for row in rows]
        lines.insert(1, "  ".join("-" * width for width in widths))
        each = f"{1e3 / self.per_second:.3g} ms each" if self.per_second else "none"
        lines.append(f"{self.per_second:,.4g} datapoints/s ({each}); the first came after {self.first_seconds:.2f} s")
        lines.extend(self.notes)
        lines.append(self.verdict)
        return "\n".join(lines)


measure: Callable[..., Explanation]
"""What ``DataFlow.explain`` calls. Set by ``flowtrain.dataflow``: ``inspect``, which measures, imports ``core``."""


def _cut(name: str) -> str:
    return name if len(name) <= _WIDEST else f"{name[: _WIDEST - 3]}..."


def _ms(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _aligned(row: tuple[str, ...], widths: list[int]) -> list[str]:
    left = (0, 1)
    return [
        text.ljust(width) if n in left else text.rjust(width)
        for n, (text, width) in enumerate(zip(row, widths, strict=True))
    ]
