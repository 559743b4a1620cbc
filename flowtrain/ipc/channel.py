"""Messages of a few frames between a process and one of its workers, over a pair of sockets.

A message is small (it says where in shared memory the data lie), so it is one packet: no thread between the two
processes, one system call on each side. A large message goes into an anonymous file whose descriptor is sent.
"""

from __future__ import annotations

import array
import os
import socket
import struct
from collections import deque
from typing import Any

from ..utils.errors import FlowtrainError

__all__ = ["Channel", "pair"]

_PACKET = 1 << 15  # bytes
_FILE = b"+"  # the packet of a message that is in a file; no other message is as short (see parcel.HEADER)
_COUNT = struct.Struct("<q")
_TIMEVAL = struct.Struct("@ll")  # seconds and microseconds
_BUFFER = 1 << 20  # bytes that the kernel may hold for a side that is not looking
_FDS = socket.CMSG_SPACE(struct.calcsize("i"))  # bytes of ancillary data that carry one descriptor


def pair() -> tuple[socket.socket, socket.socket]:
    """Make the two ends of a connection; each end notices when the other is closed, by its process's death too."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


class Channel:
    """One end of a connection between a process and its worker; a message is a list of frames.

    Args:
        end: A socket of ``pair``.
        blocking: Whether ``send`` waits while the socket is full. Otherwise messages are kept until ``flush``. One of
            the two sides must not wait, or each might wait for the other to read.
        patience: Seconds that ``receive`` waits at most; None: without a bound.
    """

    def __init__(self, end: socket.socket, blocking: bool, patience: float | None = None) -> None:
        self._socket = end
        self._kept: deque[list[Any]] = deque()
        self._flags = 0 if blocking else socket.MSG_DONTWAIT
        end.setblocking(True)  # with a timeout, Python would call poll before each system call; MSG_DONTWAIT does not
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        if patience is not None:  # the kernel's own: Python's would be a second system call
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.pack(int(patience), int(patience % 1 * 1e6)))

    def fileno(self) -> int:
        """The socket's descriptor, for ``poll``."""
        return self._socket.fileno()

    @property
    def behind(self) -> bool:
        """Whether messages are kept because the socket is full."""
        return bool(self._kept)

    def send(self, frames: list[Any]) -> None:
        """Send a message, or keep it behind those that are kept.

        Raises:
            BrokenPipeError, ConnectionResetError: The other side is gone.
        """
        if self._kept or not self._sent(frames):
            self._kept.append(frames)

    def flush(self) -> None:
        """Send what was kept, as far as the socket has room."""
        while self._kept and self._sent(self._kept[0]):
            self._kept.popleft()

    def _sent(self, frames: list[Any]) -> bool:
        try:
            if len(frames) == 1 and len(frames[0]) <= _PACKET:
                self._socket.send(frames[0], self._flags)
            else:
                self._send_file(frames)
        except BlockingIOError:
            return False
        return True

    def _send_file(self, frames: list[Any]) -> None:
        sizes = [memoryview(frame).nbytes for frame in frames]
        fd = os.memfd_create("flowtrain-message", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(fd), "wb") as file:
                file.write(struct.pack(f"<{len(sizes) + 1}q", len(sizes), *sizes))
                for frame in frames:
                    file.write(frame)
            rights = socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd])
            self._socket.sendmsg([_FILE], [rights], self._flags)  # Python 3.11's send_fds would drop the flags
        finally:
            os.close(fd)

    def receive(self) -> list[Any] | None:
        """Wait for the next message; None when the other side is gone and all its messages were received.

        Raises:
            BlockingIOError: Nothing came in time.
            FlowtrainError: A large message came for which there is no descriptor left.
        """
        # If the other side closed without having read all of ours, recvmsg fails once with ECONNRESET. What it had sent
        # before is still there, and the next call returns it.
        for _ in range(2):
            try:
                packet, ancillary, _, _ = self._socket.recvmsg(_PACKET, _FDS, socket.MSG_CMSG_CLOEXEC)
            except ConnectionResetError:
                continue
            if ancillary:
                return _read(array.array("i", ancillary[0][2])[0])
            if packet == _FILE:  # the kernel drops a descriptor that it cannot give us, and delivers the packet
                raise FlowtrainError(
                    "a large message from another process was lost: this one has no descriptor left for it. "
                    "Raise the limit of open files (ulimit -n 4096)."
                )
            return [packet] if packet else None
        return None

    def close(self) -> None:
        """Close this end."""
        self._socket.close()


def _read(fd: int) -> list[Any]:
    with os.fdopen(fd, "rb") as file:
        file.seek(0)
        (count,) = _COUNT.unpack(file.read(_COUNT.size))
        sizes = struct.unpack(f"<{count}q", file.read(8 * count))
        return [file.read(size) for size in sizes]
