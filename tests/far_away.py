"""Servers for tests of files at URLs: S3 in this process (moto), a proxy that breaks answers, HTTP with ranges."""

from __future__ import annotations

import gzip
import http.client
import http.server
import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flowtrain.utils.storage import set_remote_storage

KEY = {"key": "test", "secret": "test"}


class Proxy(http.server.ThreadingHTTPServer):
    """Hands requests on to a server, and spoils the answers that a test wants spoilt.

    Attributes:
        fault: Given (method, path, headers), what is wrong with the answer: ``"503"``, ``"break"`` (half of the body),
            ``"short"`` (a body that is half as long and says so), ``"slow"`` (no answer for 30 s), or None.
        seen: (method, path, Range header) of each request.
        sent: Bytes of the bodies of answers to GET.
    """

    daemon_threads = True
    fs: Any  # reaches the server without the proxy

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = port
        self.reset()
        self._ending = threading.Event()

    def reset(self) -> None:
        self.fault: Callable[[str, str, dict[str, str]], str | None] = lambda method, path, headers: None
        self.seen: list[tuple[str, str, str | None]] = []
        self.sent = 0

    def first(self, count: int, fault: str, method: str = "GET", match: str = "") -> None:
        """Spoil the first requests of a method whose path fits."""
        left = [count]

        def choose(its_method: str, path: str, headers: dict[str, str]) -> str | None:
            if its_method != method or not re.search(match, path) or not left[0]:
                return None
            left[0] -= 1
            return fault

        self.fault = choose

    def always(self, fault: str, method: str = "GET", match: str = "") -> None:
        self.first(10**9, fault, method, match)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address) -> None:
        pass  # a client that went away


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def _any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else None
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b"".join(self._chunks())
        headers = {name: value for name, value in self.headers.items() if name.lower() != "transfer-encoding"}
        if body is not None:
            headers["Content-Length"] = str(len(body))
        self.server.seen.append((self.command, self.path, self.headers.get("Range")))
        fault = self.server.fault(self.command, self.path, headers)
        if fault == "slow":
            self.server._ending.wait(30)
        if fault in ("503", "slow"):
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        connection = http.client.HTTPConnection("127.0.0.1", self.server.target)
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        if fault == "short":
            data = data[: len(data) // 2]
        self.send_response(answer.status)
        length_sent = answer.headers.get("Content-Length") if self.command == "HEAD" else str(len(data))
        for name, value in answer.headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding", "server", "date"):
                self.send_header(name, value)
        self.send_header("Content-Length", length_sent or "0")
        self.end_headers()
        if self.command == "GET":
            self.server.sent += len(data)
        self.wfile.write(data[: len(data) // 2] if fault == "break" else data)
        if fault == "break":
            self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _any

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(server: http.server.ThreadingHTTPServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        if isinstance(server, Proxy):
            server._ending.set()
        server.server_close()
        thread.join()


class _RangeHandler(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, with Range; /moved/x is told to be at /x."""

    protocol_version = "HTTP/1.1"
    habits: set[str] = set()

    def do_HEAD(self) -> None:
        path = Path(self.translate_path(self.path))
        if "no head" in self.habits:
            self.send_error(405)
        elif "busy" in self.habits:
            self.habits.discard("busy")
            self.send_error(503)
        elif "refuses" in self.habits:
            self.send_error(403)
        elif path.is_file() and self.habits & {"says more", "says less"}:
            self.send_response(200)
            self.send_header("Content-Length", str(path.stat().st_size + (7 if "says more" in self.habits else -7)))
            self.end_headers()
        elif not self._moved():
            super().do_HEAD()

    def _moved(self) -> bool:
        if self.path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/moved"))
            self.send_header("Content-Length", "0")
            self.end_headers()
        return self.path.startswith("/moved/")

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)?", self.headers.get("Range") or "")
        if self._moved():
            return
        if self.habits & {"busy", "refuses"}:
            self.send_error(503 if "busy" in self.habits else 403)
            return
        if "compresses" in self.habits and "gzip" in self.headers.get("Accept-Encoding", ""):
            data = gzip.compress(path.read_bytes())
            self.send_response(200)
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            return
        if not path.is_file() or wanted is None or "no ranges" in self.habits:
            super().do_GET()
            return
        data = path.read_bytes()
        start, end = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{end}/{len(data)}")
        self.send_header("Content-Length", str(end + 1 - start))
        self.end_headers()
        self.wfile.write(data[start : end + 1])

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def http_folder(folder: Path, *habits: str) -> Iterator[str]:
    """Serve a folder over HTTP with ranges; gives its URL.

    Args:
        folder: The folder.
        habits: What the server does: ``"no ranges"``, ``"no head"``, ``"compresses"``, ``"says more"`` or
            ``"says less"`` bytes than there are, ``"busy"`` (503 until it was asked once), ``"refuses"`` (403).
    """
    handler = type("_Handler", (_RangeHandler,), {"habits": set(habits)})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *given: handler(*given, directory=str(folder)))
    server.daemon_threads = True
    with serving(server):
        yield f"http://127.0.0.1:{server.server_address[1]}"


class S3:
    """A bucket on a server in this process, behind a proxy."""

    def __init__(self, proxy: Proxy, fs, bucket: str) -> None:
        self.proxy, self.fs, self.bucket = proxy, fs, bucket

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}"

    def put(self, path: Path, name: str | None = None) -> str:
        key = f"{self.bucket}/{name or path.name}"
        self.fs.pipe_file(key, path.read_bytes())
        return f"s3://{key}"

    def names(self) -> list[str]:
        self.fs.invalidate_cache()
        return sorted(name.removeprefix(f"{self.bucket}/") for name in self.fs.find(self.bucket))


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Proxy]:
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    proxy = Proxy(server.get_host_and_port()[1])
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    endpoint = f"http://127.0.0.1:{proxy.target}"
    proxy.fs = pytest.importorskip("fsspec").filesystem("s3", endpoint_url=endpoint, **KEY, skip_instance_cache=True)
    with serving(proxy):
        yield proxy
    server.stop()


_number = iter(range(10**6))


@pytest.fixture
def s3(s3_server: Proxy, tmp_path: Path, monkeypatch) -> Iterator[S3]:
    """An empty bucket, which flowtrain reaches as ``s3://`` through the proxy; the cache is in a folder of the test."""
    s3_server.reset()
    monkeypatch.setenv("FLOWTRAIN_REMOTE_STORAGE", "")
    set_remote_storage(cache=tmp_path / "cache", options={"s3": {"endpoint_url": s3_server.url, **KEY}})
    bucket = f"bucket{next(_number)}"
    s3_server.fs.mkdir(bucket)
    yield S3(s3_server, s3_server.fs, bucket)


@pytest.fixture
def storage_cache(tmp_path: Path, monkeypatch) -> Path:
    """The cache is in a folder of the test."""
    monkeypatch.setenv("FLOWTRAIN_REMOTE_STORAGE", "")
    set_remote_storage(cache=tmp_path / "cache")
    return tmp_path / "cache"
