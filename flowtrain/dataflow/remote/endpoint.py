"""Addresses, key files and socket options of remote flows."""

from __future__ import annotations

import logging
import os
import re
import secrets
from pathlib import Path

import zmq

from ...utils.errors import ConfigError
from ...utils.storage import local_only

__all__ = ["KEEPALIVE_MS", "checked_address", "load_key", "make_keys", "prepare", "warn_if_open"]

KEEPALIVE_MS = 2000
"""A peer that is silent on the wire for three times this long counts as gone."""

_ADDRESS = re.compile(r"tcp://([^:/]*|\[[0-9a-fA-F:]+\]):\d+|ipc://.+")
_KEPT = "A key stays on the machines that use it: scp it to each."
_KEY = re.compile(r"[\x21-\x7e]{40}")


def checked_address(address: object, who: str) -> str:
    """Check an address to bind or connect to; ``tcp://:5555`` stands for this machine's loopback.

    Args:
        address: What the user gave.
        who: Whose argument it is, for errors.

    Raises:
        ConfigError: It is no address.
    """
    if not isinstance(address, str) or not _ADDRESS.fullmatch(address):
        raise ConfigError(f"{who}: an address looks like tcp://127.0.0.1:5555 or ipc:///tmp/flow, got {address!r}")
    return address.replace("tcp://:", "tcp://127.0.0.1:")


def make_keys(folder: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Make the two key files that encrypt a remote flow and keep strangers out (ZeroMQ's CURVE).

    Args:
        folder: The folder to write ``receiver.key``, for the receiver alone, and ``sender.key``, for the senders. A
            sender without its key cannot connect, and nobody without the receiver's key can pose as the receiver.

    Returns:
        The paths of the receiver's and of the senders' key file.

    Raises:
        FileExistsError: One of the files is there already.

    Example:
        >>> receiver, sender = make_keys(getfixture("tmp_path"))  # doctest: +SKIP
        >>> ds = RemoteData("tcp://0.0.0.0:5555", key=receiver)  # doctest: +SKIP
        >>> send_dataflow(ds, "tcp://trainer:5555", key=sender)  # on the other machine  # doctest: +SKIP
    """
    place = Path(local_only(folder, "the folder of make_keys", _KEPT))
    public, secret = zmq.curve_keypair()
    # CURVE with one key pair proves who the receiver is; senders prove that they belong to it by this shared secret,
    # which they send only over the encrypted connection.
    token = secrets.token_hex(20)
    paths = place / "receiver.key", place / "sender.key"
    contents = f"receiver {secret.decode()} {token}\n", f"sender {public.decode()} {token}\n"
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    for path, text in zip(paths, contents, strict=True):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # readable by nobody else from the start
        with os.fdopen(fd, "w") as file:
            file.write(text)
    return paths


def load_key(path: str | os.PathLike[str], role: str) -> tuple[bytes, str]:
    """Read a key file.

    Args:
        path: The file.
        role: ``"receiver"`` or ``"sender"``.

    Returns:
        The CURVE key (the receiver's secret or public key) and the shared token.

    Raises:
        ConfigError: The file cannot be read, or is no key of this role.
    """
    file = Path(local_only(path, f"the {role}'s key", _KEPT))
    try:
        kind, *parts = file.read_text().split()
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the key {path}: {error}. make_keys(folder) makes keys") from error
    if kind != role or len(parts) != 2 or not all(_KEY.fullmatch(part) for part in parts):
        raise ConfigError(f"{path} is not a {role}'s key; make_keys(folder) makes {role}.key")
    return parts[0].encode(), parts[1]


def prepare(socket: zmq.Socket, max_bytes: int, high_water: int) -> None:
    """Set the socket options that receiver and senders have in common.

    Args:
        socket: The socket.
        max_bytes: The most bytes of a frame.
        high_water: How many messages may wait in each direction.
    """
    socket.linger = 0  # closing waits for no peer that may be gone
    socket.sndhwm = socket.rcvhwm = high_water
    socket.maxmsgsize = max_bytes  # a larger frame is refused before it is in memory
    # ZeroMQ's own heartbeats: a machine that vanished (cable, power) would be noticed by TCP only after many minutes.
    socket.heartbeat_ivl = KEEPALIVE_MS
    socket.heartbeat_timeout = 3 * KEEPALIVE_MS
    socket.handshake_ivl = 10_000


def warn_if_open(address: str, keyed: bool) -> None:
    """Log a warning if the receiver listens on the network without a key."""
    if not keyed and address.startswith("tcp://") and not re.match(r"tcp://(127\.|localhost|\[::1\])", address):
        logging.getLogger("flowtrain").warning(
            "RemoteData listens on %s without a key: whoever reaches this port can feed it data; see make_keys()",
            address,
        )
