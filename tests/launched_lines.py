"""What several processes have printed through `flowtrain launch`, told apart by the numbers before their lines."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["lines_by_process", "workers_of"]


def lines_by_process(out: str, count: int) -> list[list[str]]:
    """The lines of each process, without the number."""
    lines: list[list[str]] = [[] for _ in range(count)]
    for line in out.splitlines():
        mark, text = line.split("] ", 1)
        lines[int(mark.removeprefix("["))].append(text)
    return lines


def workers_of(configs: list[str]) -> tuple[str, ...]:
    """The addresses that all processes agree on, of the TF_CONFIG of each; each has to be told its own place."""
    places: list[dict[str, Any]] = [json.loads(config) for config in configs]
    assert [place["task"] for place in places] == [{"type": "worker", "index": i} for i in range(len(configs))]
    (workers,) = {tuple(place["cluster"]["worker"]) for place in places}
    assert len(set(workers)) == len(configs)
    return workers
