"""TF_CONFIG for each process of a training: on this machine, at given addresses, or from SLURM's environment."""

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

_PORTS = range(12_000, 32_000)  # below Linux's ephemeral ports, which outgoing connections take (32768 and up)
_FREE_PORTS = range(20_000, 32_000)  # the part of them that Ray's workers do not use (10002 to 19999)
_NODE = re.compile(r"([^,\[\]]+)(?:\[([0-9,-]+)\])?([^,\[\]]*)(?:,|$)")  # prefix[ranges]suffix, or a plain name
_TASKS = re.compile(r"(\d+)(?:\(x(\d+)\))?")  # tasks of a node(xnodes in a row)


def local_environments(count: int, gpus: int | None) -> list[dict[str, str]]:
    """Environment variables for each of `count` processes on this machine.

    Args:
        count: Number of processes; a single one needs no TF_CONFIG.
        gpus: Number of GPUs for each, given out in order; None: every process sees all.
    """
    environments: list[dict[str, str]] = [{} for _ in range(count)]
    if count > 1:
        with contextlib.ExitStack() as stack:  # all ports are held until all are found, so that they differ
            probes = [stack.enter_context(held_port("127.0.0.1")) for _ in range(count)]
            addresses = [f"127.0.0.1:{probe.getsockname()[1]}" for probe in probes]
        environments = [cluster_environment(addresses, index) for index in range(count)]
    if gpus is not None:
        for index, environment in enumerate(environments):
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, range(index * gpus, (index + 1) * gpus)))
    return environments


def cluster_environment(addresses: Sequence[str], index: int) -> dict[str, str]:
    """TF_CONFIG for the process with this index, given the addresses of all; empty for a single process."""
    if len(addresses) == 1:
        return {}
    config = {"cluster": {"worker": list(addresses)}, "task": {"type": "worker", "index": index}}
    return {"TF_CONFIG": json.dumps(config)}


def held_port(host: str = "") -> socket.socket:
    """Bind a socket to a free port; the port stays taken until the socket is closed.

    Args:
        host: The address on which the port has to be free; empty: all addresses of this machine.
    """
    # Not port 0: that gives an ephemeral port, which any outgoing connection may take in the seconds between closing
    # this socket and TensorFlow's binding the port. Random, so that launches at the same time try different ports.
    probe = socket.socket()
    for port in random.sample(_FREE_PORTS, len(_FREE_PORTS)):
        with contextlib.suppress(OSError):
            probe.bind((host, port))
            return probe
    probe.close()
    raise click.ClickException(f"no port from {_FREE_PORTS.start} to {_FREE_PORTS.stop - 1} is free")


def slurm_environment(given: Mapping[str, str]) -> dict[str, str]:
    """TF_CONFIG for this task of a SLURM step.

    Args:
        given: The environment that ``srun`` gave this task.

    Raises:
        click.ClickException: Variables of SLURM are missing or not understood.
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
    # Each task computes the addresses of all by itself, so the ports follow from the job's number: 64 for each job, so
    # that jobs that share a node (their numbers are mostly near each other) have different ones.
    first = _PORTS[job * 64 % len(_PORTS) // 64 * 64]
    addresses = [f"{node}:{first + place}" for node, count in zip(nodes, tasks, strict=True) for place in range(count)]
    return cluster_environment(addresses, rank)


def _nodes(text: str) -> list[str]:
    """Expand SLURM's list of nodes: ``n[01-03,7],gpu1`` is n01, n02, n03, n7 and gpu1."""
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
    """Expand SLURM's numbers of tasks per node: ``2(x3),1`` is 2, 2, 2, 1."""
    matches = [_TASKS.fullmatch(part) for part in text.split(",")]
    if not all(matches):
        raise ValueError(f"the numbers of tasks {text!r}")
    return [int(match[1]) for match in matches if match for _ in range(int(match[2] or 1))]


def slurm_script(command: Sequence[str], count: int, gpus: int | None, restarts: int) -> str:
    """A job script for ``sbatch``, with one task on each of `count` nodes.

    Args:
        command: The script and its arguments.
        count: Number of nodes.
        gpus: Number of GPUs of each task; None or 0: none is asked for.
        restarts: How many times the job is requeued after a failure.
    """
    options = [
        f"--job-name={command[0].rpartition('/')[2].removesuffix('.py')}",
        f"--nodes={count}",
        "--ntasks-per-node=1",
        *([f"--gpus-per-task={gpus}"] if gpus else []),
        "--open-mode=append",  # a requeued job goes on with its output file
        "--signal=TERM@120",  # to the tasks, 120 seconds before the time is over
        *(["--requeue"] if restarts else []),
    ]
    lines = ["#!/bin/bash", *(f"#SBATCH {option}" for option in options), ""]
    lines += ["# Add what your cluster wants: --partition, --time, --account, --cpus-per-task."]
    lines += ["# SIGTERM comes 120 seconds before the time is over: the run saves itself and ends.", ""]
    resumed = [f"--restarts={restarts}"] if restarts else []
    # Without --kill-on-bad-exit the other tasks would wait for the one that failed, in a collective operation.
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
