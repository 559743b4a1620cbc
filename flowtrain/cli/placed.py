"""What runs in the Ray actor that holds the place of one process of a training: it starts it, and looks after it."""

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
    """The place of one process. The process ends with the actor, whatever ends that."""

    def __init__(self) -> None:
        self._output = io.BytesIO()
        self._stack = contextlib.ExitStack()
        self._group = ProcessGroup(self._stack, self._output)
        self._port: socket.socket | None = None

    def address(self) -> str:
        """This machine's address and a port of it, which stays free until the process is started."""
        import ray

        self._port = held_port()
        return f"{ray.util.get_node_ip_address()}:{self._port.getsockname()[1]}"

    def start(
        self, number: int, command: Sequence[str], environment: Mapping[str, str], folder: str | None, marked: bool
    ) -> str:
        """Start the process.

        Args:
            number: Which one it is.
            command: The script and its arguments.
            environment: What it has in its environment besides this actor's own.
            folder: Where it runs; None: in the actor's own.
            marked: Whether its lines come with the number before them.

        Returns:
            What is missing on this machine; empty: the process runs.
        """
        if self._port is not None:
            self._port.close()
        if folder is not None and not os.path.isdir(folder):
            return f"there is no folder {folder}"
        if not os.path.isfile(os.path.join(folder or os.getcwd(), command[0])):
            return f"there is no file {command[0]} in {folder or os.getcwd()}"
        given = {**os.environ, **environment}
        self._group.start(number, [sys.executable, *command], given, marked, folder)
        return ""

    def turn(self, signals: Sequence[int], seconds: float) -> tuple[bytes, int | None]:
        """Pass signals on, and wait until there are lines or the process has ended, for so many seconds at most.

        Returns:
            (whole lines, the status; None while it runs)
        """
        for number in signals:
            self._group.send(number)
        if self._group.living:
            self._group.turn(seconds)
        lines = self._output.getvalue()
        self._output.seek(0)
        self._output.truncate()
        return lines, None if self._group.living else self._group.ended().status
