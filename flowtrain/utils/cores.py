"""The number of processor cores that this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

__all__ = ["available_cores"]


def available_cores(root: Path = Path("/")) -> int:
    """Count the cores that this process may use: those of its CPU affinity, or fewer if its cgroup has a CPU quota.

    A quota of one and a half cores counts as two.

    Args:
        root: Where ``proc`` and ``sys`` are, for tests.

    Returns:
        At least 1.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for folder in _groups(root) if (quota := _quota(folder)) is not None]
    return max(1, min([allowed, *(math.ceil(quota) for quota in quotas)]))


def _groups(root: Path) -> list[Path]:
    """Return the folders of this process's cgroups (versions 1 and 2) and of their parents, whose quotas hold too."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # no Linux, or no /proc
        return []
    found = []
    for line in lines:
        _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / controllers  # version 2 has no controllers here
        # In a container the path is often that of the host's tree, and what is mounted is the group itself.
        within = top / path.lstrip("/")
        found += [within, *(folder for folder in within.parents if folder.is_relative_to(top))]
    return found


def _quota(folder: Path) -> float | None:
    """Read the CPU quota of a cgroup in cores; None: it has none."""
    try:
        if (file := folder / "cpu.max").exists():  # version 2
            quota, period = file.read_text().split()[:2]
        else:
            quota, period = ((folder / f"cpu.cfs_{part}_us").read_text() for part in ("quota", "period"))
        share = float("inf") if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
    return share if 0 < share < float("inf") else None
