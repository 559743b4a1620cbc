"""Processes of a training on a Ray cluster, each beneath an actor: Ray chooses their machines, all end together."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

import click

from ..dataflow.cluster import Ray
from .group import Ended, Together, handling
from .placed import Placed
from .places import cluster_environment

__all__ = ["run_on_ray"]

_NAME = "flowtrain launch"
_TURN = 0.5  # seconds after which an actor's turn returns though nothing has happened; so long a signal may wait
_SILENT = 30.0  # seconds without an answer after a signal, after which an actor counts as lost
_TELL = 5.0  # seconds of waiting for room until the first message about it; the time to the next one doubles
_LOOK = 0.5  # seconds at most in one call of Ray: between two calls it is seen that this process was asked to end
_PASSED = ("FLOWTRAIN_", "KERAS_", "TF_", "XLA_")  # environment variables with these prefixes are passed on


def run_on_ray(
    cluster: Ray,
    command: Sequence[str],
    count: int,
    *,
    environment: Mapping[str, str],
    spread: bool = False,
    folder: str | None = None,
    output: BinaryIO | None = None,
) -> Ended:
    """Start `count` processes of a script once a Ray cluster has room for all of them, and wait for all.

    Each process runs beneath an actor of one placement group, with a TF_CONFIG that lists all. When one fails, or its
    actor or machine is lost, the others get SIGTERM, and SIGKILL five seconds later. If this process gets SIGTERM or
    SIGINT, it passes SIGTERM on and waits as long as the others need to save; a second signal kills them. They end with
    this process, however it ends.

    Args:
        cluster: The cluster, and the resources of each process.
        command: The script and its arguments.
        count: Number of processes.
        environment: Variables in addition to the environment of the machine that a process runs on.
        spread: Each on a machine of its own; else on as few machines as have room.
        folder: Working directory of the processes; None: the folder that Ray ships (``runtime_env``).
        output: Receives their output; with several processes each line begins with the process's number. None: stdout.

    Returns:
        How the group ended.

    Raises:
        FlowtrainError: There is no such cluster.
        click.ClickException: The cluster has no room for them in time, or a machine lacks the script.
    """
    with contextlib.ExitStack() as stack:
        run = _Run(stack, cluster, count, output or sys.stdout.buffer)
        stack.enter_context(handling(run.ask))
        run.place(spread)
        run.start(command, environment, folder)
        while run.living:
            run.turn()
        return run.ended()


class _Member:
    """One process of the group, and the actor that runs it."""

    def __init__(self, number: int, actor: Any) -> None:
        self.number, self.actor = number, actor
        self.signals: list[int] = []  # to send with the next turn
        self.turn: Any = None  # Ray's reference to the result of the turn that is under way
        self.heard = time.monotonic()  # when its last turn returned


class _Run(Together):
    """A group of processes on the machines of a Ray cluster."""

    _living: dict[int, _Member]

    def __init__(self, stack: contextlib.ExitStack, cluster: Ray, count: int, output: BinaryIO) -> None:
        super().__init__()
        self._stack, self._cluster, self._count, self._output = stack, cluster, count, output
        self._signalled = False
        self._started = False
        self._ray = cluster.connect(_NAME)

    # ---------------------------------------------------------------- places

    def place(self, spread: bool) -> None:
        """Wait until Ray has room for all, and make the actors."""
        from ray.util.placement_group import placement_group, remove_placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        bundle = {"CPU": self._cluster.cpus, **self._cluster.resources}
        bundle = {name: amount for name, amount in bundle.items() if amount}
        group = placement_group([bundle] * self._count, "STRICT_SPREAD" if spread else "PACK")
        self._stack.callback(remove_placement_group, group)
        # Ray itself would wait without a bound and without a word for room that a cluster may never have.
        asked, told = time.monotonic(), _TELL
        while self._asked is None and not group.wait(_LOOK):
            waited = time.monotonic() - asked
            if waited > self._cluster.start_timeout:
                raise click.ClickException(f"--ray: after {waited:.0f} s there is no room: {self._missing(spread)}")
            if waited >= told:
                told *= 2
                click.echo(f"{_NAME} has waited {waited:.0f} s for Ray: {self._missing(spread)}", err=True)
        if self._asked is not None:
            return
        placed = self._ray.remote(Placed)
        for number in range(self._count):
            place = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=number)
            options = {"max_restarts": 0, "scheduling_strategy": place, **self._cluster.options()}
            actor = placed.options(**options).remote()
            self._stack.callback(_suppressed, self._ray.kill, actor)
            self._living[number] = _Member(number, actor)

    def _missing(self, spread: bool) -> str:
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        names = dict.fromkeys(["CPU", *self._cluster.resources])
        have = "; ".join(", ".join(f"{node.get(name, 0):g} {name}" for name in names) for node in nodes)
        where = ", each on a machine of its own" if spread else ""
        return (
            f"{self._count} processes want {self._cluster.wants()} each{where}. The cluster's {len(nodes)} machines "
            f"have {have}, some of which others may use"
        )

    def start(self, command: Sequence[str], environment: Mapping[str, str], folder: str | None) -> None:
        """Start the processes, each with the addresses of all: first all actors reserve a port, then all start."""
        if self._asked is not None:
            return
        addresses = self._all(lambda member: member.actor.address.remote())
        if len(addresses) < self._count:
            return
        self._started = True
        always = {name: value for name, value in os.environ.items() if name.startswith(_PASSED) and name != "TF_CONFIG"}
        always |= {"RAY_ADDRESS": self._ray.get_runtime_context().gcs_address, **environment}

        def started(member: _Member) -> Any:
            own = {**always, **cluster_environment(list(addresses.values()), member.number)}
            return member.actor.start.remote(member.number, list(command), own, folder, self._count > 1)

        for number, missing in self._all(started).items():
            if missing:
                host = addresses[number].rpartition(":")[0]
                raise click.ClickException(
                    f"--ray: on {host} {missing}. It has to be in a folder that all machines see; or ship it: "
                    "--working-dir"
                )

    def _all(self, call: Callable[[_Member], Any]) -> dict[int, Any]:
        """Call all actors at once and return their results by number; a lost actor counts as a failed process."""
        refs = {number: call(member) for number, member in self._living.items()}
        found = {}
        for number, ref in refs.items():
            try:
                found[number] = self._ray.get(ref)
            except self._ray.exceptions.RayTaskError:  # an error of our own code in the actor: a bug, not a loss
                raise
            except self._ray.exceptions.RayError as error:
                self._lose(self._living[number], error)
        return found

    # ---------------------------------------------------------------- while they run

    def turn(self) -> None:
        """Exchange news with the actors: send signals, receive printed lines, notice processes that have ended."""
        # One call is under way at each actor at all times; it returns when there is something to tell, or after _TURN.
        for member in self._living.values():
            if member.turn is None:
                signals, member.signals = member.signals, []
                member.turn = member.actor.turn.remote(signals, _TURN)
        members = {member.turn: member for member in self._living.values()}
        ready, _ = self._ray.wait(list(members), num_returns=1, timeout=_LOOK)
        for ref in ready:
            self._hear(members[ref], ref)
        self._kill_overdue()
        # Only after a signal: until then Ray itself reports actors and machines that it has lost, and silence is no
        # failure. Who has asked for the end must not wait for an actor that never answers.
        if self._signalled:
            for member in [m for m in self._living.values() if time.monotonic() - m.heard > _SILENT]:
                self._lose(member, TimeoutError(f"no answer for {_SILENT:.0f} s"))

    def _hear(self, member: _Member, ref: object) -> None:
        try:
            lines, status = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError:
            raise
        except self._ray.exceptions.RayError as error:
            self._lose(member, error)
            return
        member.turn, member.heard = None, time.monotonic()
        self._output.write(lines)
        self._output.flush()
        if status is not None:
            del self._living[member.number]
            if status:
                self._fail(Ended(status, member.number))

    def _lose(self, member: _Member, error: BaseException) -> None:
        """Count a process as failed whose actor is gone: it ends with the actor."""
        del self._living[member.number]
        why = " ".join(str(error).split())[:500]
        self._fail(Ended(128 + signal.SIGKILL, member.number, how=f"was lost with its Ray actor: {why}"))

    def send(self, number: int) -> None:
        # Called by a signal handler, perhaps inside a call of Ray: it only takes notes for the next turn.
        for member in self._living.values():
            member.signals.append(number)
            if not self._signalled:
                member.heard = time.monotonic()
        self._signalled = True

    def ended(self) -> Ended:
        """How the group ended; if a signal came before any process was started, with that signal's status."""
        if self._asked is not None and self._failed is None and not self._started:
            return Ended(128 + self._asked, None, self._asked)
        return super().ended()


def _suppressed(call: Callable[..., Any], *args: object) -> None:
    with contextlib.suppress(Exception):
        call(*args)
