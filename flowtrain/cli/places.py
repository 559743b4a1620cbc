"""Where the processes of a training run: the TF_CONFIG of each, on this machine or from what SLURM says."""

from __future__ import annotations

import contextlib
import json
import random
import re
import shlex
import socket
from collections.abc import Mapping, Sequence

import click

__all__ = ["cluster_environment", "held_port", "local_environments", "slurm_environment", "slurm_script"]

_PORTS = range(12_000, 32_000)  # below those that Linux gives to who asks for any
_FREE_PORTS = range(20_000, 32_000)  # of these again, those that Ray's own workers do not use
_NODE = re.compile(r"([^,\[\]]+)(?:\[([0-9,-]+)\])?([^,\[\]]*)(?:,|$)")
_TASKS = re.compile(r"(\d+)(?:\(x(\d+)\))?")


def local_environments(count: int, gpus: int | None) -> list[dict[str, str]]:
    """What each of so many processes of this machine has in its environment.

    Args:
        count: How many; one needs no TF_CONFIG.
        gpus: How many GPUs each gets, in their order; None: all see all.
    """
    environments: list[dict[str, str]] = [{} for _ in range(count)]
    if count > 1:
        with contextlib.ExitStack() as stack:
            probes = [stack.enter_context(held_port("127.0.0.1")) for _ in range(count)]
            addresses = [f"127.0.0.1:{probe.getsockname()[1]}" for probe in probes]
        environments = [cluster_environment(addresses, index) for index in range(count)]
    if gpus is not None:
        for index, environment in enumerate(environments):
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, range(index * gpus, (index + 1) * gpus)))
    return environments


def cluster_environment(addresses: Sequence[str], index: int) -> dict[str, str]:
    """The TF_CONFIG of one of the processes at these addresses; a single one needs none."""
    if len(addresses) == 1:
        return {}
    config = {"cluster": {"worker": list(addresses)}, "task": {"type": "worker", "index": index}}
    return {"TF_CONFIG": json.dumps(config)}


def held_port(host: str = "") -> socket.socket:
    """A socket that holds a free port until it is closed.

    The port is none that Linux gives to connections, of which there are many until a process has imported TensorFlow.

    Args:
        host: The address on which the port has to be free; empty: all of this machine's.
    """
    probe = socket.socket()
    for port in random.sample(_FREE_PORTS, len(_FREE_PORTS)):
        with contextlib.suppress(OSError):
            probe.bind((host, port))
            return probe
    probe.close()
    raise click.ClickException(f"no port from {_FREE_PORTS.start} to {_FREE_PORTS.stop - 1} is free")


def slurm_environment(given: Mapping[str, str]) -> dict[str, str]:
    """The TF_CONFIG of this task of a SLURM step, as all of its tasks work it out.

    Args:
        given: The environment that ``srun`` made.

    Raises:
        click.ClickException: It is no task of SLURM's.
    """
    try:
        nodes = _nodes(given.get("SLURM_STEP_NODELIST") or given["SLURM_JOB_NODELIST"])
        tasks = _tasks(given.get("SLURM_STEP_TASKS_PER_NODE") or given["SLURM_TASKS_PER_NODE"])
        rank, job = int(given["SLURM_PROCID"]), int(given["SLURM_JOB_ID"])
        if len(nodes) != len(tasks):
            raise ValueError(f"{len(nodes)} nodes, and numbers of tasks for {len(tasks)}")
    except KeyError as error:
        raise click.ClickException(
            f"--slurm: there is no {error.args[0]} in the environment. Start it by srun, in a job: --print writes one."
        ) from None
    except ValueError as error:
        raise click.ClickException(f"--slurm: SLURM's environment is not understood: {error}") from None
    first = _PORTS[job * 64 % len(_PORTS) // 64 * 64]  # jobs that share a node have other ports
    addresses = [f"{node}:{first + place}" for node, count in zip(nodes, tasks, strict=True) for place in range(count)]
    return cluster_environment(addresses, rank)


def _nodes(text: str) -> list[str]:
    """``n[01-03,7],gpu1`` as n01, n02, n03, n7 and gpu1."""
    found, at = [], 0
    while at < len(text):
        match = _NODE.match(text, at)
        if match is None or match.end() == at:
            raise ValueError(f"the list of nodes {text!r}")
        before, ranges, after = match.groups()
        if ranges is None:
            found.append(before + after)
        else:
            for part in ranges.split(","):
                first, _, last = part.partition("-")
                for number in range(int(first), int(last or first) + 1):
                    found.append(f"{before}{number:0{len(first)}d}{after}")
        at = match.end()
    return found


def _tasks(text: str) -> list[int]:
    """``2(x3),1`` as 2, 2, 2, 1."""
    matches = [_TASKS.fullmatch(part) for part in text.split(",")]
    if not all(matches):
        raise ValueError(f"the numbers of tasks {text!r}")
    return [int(match[1]) for match in matches if match for _ in range(int(match[2] or 1))]


def slurm_script(command: Sequence[str], count: int, gpus: int | None, restarts: int) -> str:
    """A job for ``sbatch``: a task on each of so many nodes.

    Args:
        command: The script and its arguments.
        count: How many tasks.
        gpus: Of each.
        restarts: How many times the job is put into the queue again after a failure.
    """
    options = [
        f"--job-name={command[0].rpartition('/')[2].removesuffix('.py')}",
        f"--nodes={count}",
        "--ntasks-per-node=1",
        *([f"--gpus-per-task={gpus}"] if gpus else []),
        "--open-mode=append",
        "--signal=TERM@120",
        *(["--requeue"] if restarts else []),
    ]
    lines = ["#!/bin/bash", *(f"#SBATCH {option}" for option in options), ""]
    lines += ["# Add what your cluster wants: --partition, --time, --account, --cpus-per-task."]
    lines += ["# SIGTERM comes 120 seconds before the time is over: the run saves itself and ends.", ""]
    resumed = [f"--restarts={restarts}"] if restarts else []
    words = ["srun", "--kill-on-bad-exit=1", "flowtrain", "launch", "--slurm", *resumed, command[0]]
    words += ["--", *command[1:]] if command[1:] else []
    lines += [shlex.join(words)]
    if restarts:
        lines += [
            "status=$?",
            f'if [ "$status" -ne 0 ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {restarts} ]; then',
            '    scontrol requeue "$SLURM_JOB_ID"',
            "fi",
            'exit "$status"',
        ]
    return "\n".join(lines) + "\n"
