"""The Ray actor of ``flowtrain launch --ray``: starts one process of a training on its machine and watches it."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import sys
from collections.abc import Mapping, Sequence

from .group import ProcessGroup
from .places import held_port

__all__ = ["Placed"]


class Placed:
    """Runs one process of a training, as a child process. It ends with the actor, however that ends."""

    def __init__(self) -> None:
        self._output = io.BytesIO()
        self._stack = contextlib.ExitStack()
        self._group = ProcessGroup(self._stack, self._output)
        self._port: socket.socket | None = None

    def address(self) -> str:
        """This machine's address with a free port, which the actor keeps bound until `start`."""
        import ray

        self._port = held_port()
        return f"{ray.util.get_node_ip_address()}:{self._port.getsockname()[1]}"

    def start(
        self, number: int, command: Sequence[str], environment: Mapping[str, str], folder: str | None, marked: bool
    ) -> str:
        """Start the process.

        Args:
            number: Its number in the group.
            command: The script and its arguments.
            environment: Variables in addition to this actor's environment.
            folder: Its working directory; None: the actor's.
            marked: Whether its lines begin with its number.

        Returns:
            What is missing on this machine, for an error; empty if the process was started.
        """
        if self._port is not None:
            self._port.close()  # only now: until the training binds the port itself nobody else may take it
        if folder is not None and not os.path.isdir(folder):
            return f"there is no folder {folder}"
        if not os.path.isfile(os.path.join(folder or os.getcwd(), command[0])):
            return f"there is no file {command[0]} in {folder or os.getcwd()}"
        given = {**os.environ, **environment}
        self._group.start(number, [sys.executable, *command], given, marked, folder)
        return ""

    def turn(self, signals: Sequence[int], seconds: float) -> tuple[bytes, int | None]:
        """Send signals to the process, then wait at most so many seconds until it prints a line or ends.

        Returns:
            The lines that it has printed, whole ones only; and its exit status, None while it runs.
        """
        for number in signals:
            self._group.send(number)
        if self._group.living:
            self._group.turn(seconds)
        # Taken by the caller with this turn: what is left here would be told twice.
        lines = self._output.getvalue()
        self._output.seek(0)
        self._output.truncate()
        return lines, None if self._group.living else self._group.ended().status
