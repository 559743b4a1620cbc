"""flowtrain beside litdata and mosaicml-streaming over the same S3 server.

    python bench/far.py [--records 1000] [--kilobytes 50] [--rounds 3] [--write FILE]

An S3 server (moto) runs in a process of its own on this machine, so what is compared is the work of the readers and the
number and size of their requests, not a network; ``--latency`` adds a wait to each request, as a real one has. Records
are incompressible bytes with a number, in random order, read in one process without workers. Each measurement runs in
a process of its own, and contenders take turns:

- cold: an epoch with an empty cache folder
- warm: the next epoch's order in a new process, over the cache that the first one left
- resume: with a warm cache, from the state after half an epoch to the first record, and to the end of the epoch
- resume cold: the same on a machine whose cache folder is empty

What is counted, after the imports, is seconds from making the dataset to its last record (or first), CPU seconds of the
reader's process, and the server's requests and bytes. Every record must come exactly once, which is checked.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import types
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np

BUCKET = "bench"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
CONTENDERS = ["flowtrain", "litdata", "streaming"]
MODES = ["cold", "warm", "resume", "resume-cold"]
BATCH = 16


# ---- the server


def serve(latency: float) -> None:
    """Run moto behind a proxy that counts requests and bytes and adds latency; print the proxy's port."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    port = server.get_host_and_port()[1]
    seen = {"requests": 0, "bytes": 0}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def any(self):
            if self.path == "/seen":
                body = json.dumps(seen).encode()
                seen.update(requests=0, bytes=0)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                return
            time.sleep(latency)
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
            connection = HTTPConnection("127.0.0.1", port)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            connection.request(self.command, self.path, sent, headers)
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            length = answer.headers.get("Content-Length") if self.command == "HEAD" else str(len(body))
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in ("content-length", "connection", "transfer-encoding", "server", "date"):
                    self.send_header(name, value)
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            self.wfile.write(body)
            seen["requests"] += 1
            seen["bytes"] += len(body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = any

        def log_message(self, *_):
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(proxy.server_address[1], flush=True)
    proxy.serve_forever()


def seen(url: str) -> dict[str, int]:
    from urllib.request import urlopen

    with urlopen(f"{url}/seen") as answer:
        return json.load(answer)


# ---- the data, as each peer's users would write them


def _streaming():
    """Import mosaicml-streaming with a stand-in for torchvision.

    It imports torchvision for data sets that are not used here, which fails if that does not fit the installed torch.
    """
    for name in ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional"):
        module = sys.modules[name] = types.ModuleType(name)
        module.VisionDataset, module.to_tensor = object, None
        module.__spec__, module.__path__ = ModuleSpec(name, None), []
    import streaming

    return streaming


def records(count: int, size: int):
    rng = np.random.default_rng(0)
    for number in range(count):
        yield number, rng.bytes(size)


def _record(pair):
    return {"number": pair[0], "data": pair[1]}


def make(folder: Path, count: int, size: int, url: str) -> None:
    import s3fs

    from flowtrain.dataflow import DataFromList
    from flowtrain.dataflow.formats import write

    data = list(records(count, size))
    shards = 4
    for number in range(shards):
        part = data[number * count // shards : (number + 1) * count // shards]
        (folder / "flowtrain").mkdir(exist_ok=True)
        write(DataFromList([[*pair] for pair in part]), folder / "flowtrain" / f"{number}.tfrecord", progress=False)
    if "litdata" in CONTENDERS:
        from litdata.streaming.cache import Cache  # noqa: F401 - fails here where it is missing
        from litdata.streaming.writer import BinaryWriter

        writer = BinaryWriter(str(folder / "litdata"), chunk_bytes=1 << 24)
        (folder / "litdata").mkdir(exist_ok=True)
        for index, pair in enumerate(data):
            writer[index] = _record(pair)
        writer.done()
        writer.merge()
    if "streaming" in CONTENDERS:
        MDSWriter = _streaming().MDSWriter

        with MDSWriter(
            out=str(folder / "streaming"), columns={"number": "int", "data": "bytes"}, size_limit=1 << 24
        ) as w:
            for pair in data:
                w.write(_record(pair))
    fs = s3fs.S3FileSystem(endpoint_url=url, key="test", secret="test")
    fs.mkdir(BUCKET)
    for path in folder.rglob("*"):
        if path.is_file():
            fs.put_file(str(path), f"{BUCKET}/{path.relative_to(folder).as_posix()}")


# ---- the contenders: each iterates over batches of record numbers, and has a state to resume from


class Flowtrain:
    def __init__(self, cache: Path, url: str, epoch: int):
        import flowtrain.dataflow as fd
        from flowtrain.dataflow.formats import TFRecordData
        from flowtrain.utils import set_remote_storage

        set_remote_storage(cache=cache, options={"s3": {"endpoint_url": url, "key": "test", "secret": "test"}})
        self.ds = fd.BatchData(TFRecordData(f"s3://{BUCKET}/flowtrain/*.tfrecord", shuffle=True), BATCH, remainder=True)

    def __iter__(self):
        for numbers, _ in self.ds:
            yield numbers.tolist()

    def state(self):
        return self.ds.state_dict()

    def load(self, state):
        self.ds.load_state_dict(state)


class _Loader:
    """A contender whose library has a loader with a state."""

    def __iter__(self):
        yield from self.loader

    def state(self):
        return self.loader.state_dict()

    def load(self, state):
        self.loader.load_state_dict(state)


class Litdata(_Loader):
    def __init__(self, cache: Path, url: str, epoch: int):
        from litdata import StreamingDataLoader, StreamingDataset
        from litdata.streaming import downloader

        downloader._OBSTORE_CLIENT_OPTIONS["allow_http"] = "true"  # else it takes https:// alone
        options = {"endpoint_url": url, "aws_access_key_id": "test", "aws_secret_access_key": "test"}
        dataset = StreamingDataset(
            f"s3://{BUCKET}/litdata", cache_dir=str(cache), shuffle=True, storage_options=options, max_cache_size="10GB"
        )
        self.loader = StreamingDataLoader(dataset, batch_size=BATCH, num_workers=0, collate_fn=_numbers)


class Streaming(_Loader):
    def __init__(self, cache: Path, url: str, epoch: int):
        streaming = _streaming()

        os.environ["S3_ENDPOINT_URL"] = url
        dataset = streaming.StreamingDataset(
            remote=f"s3://{BUCKET}/streaming", local=str(cache), shuffle=True, batch_size=BATCH, num_canonical_nodes=1
        )
        self.loader = streaming.StreamingDataLoader(dataset, batch_size=BATCH, num_workers=0, collate_fn=_numbers)


def _numbers(samples):
    import torch

    return torch.tensor(
        [int(sample["number"]) for sample in samples]
    )  # of a list streaming counts the first one's items


LIBRARIES = {
    "flowtrain": ["flowtrain.dataflow.formats.tfrecord", "s3fs"],
    "litdata": ["litdata", "torch"],
    "streaming": ["torch"],
}
KINDS = {"flowtrain": Flowtrain, "litdata": Litdata, "streaming": Streaming}


def turn(name: str, mode: str, cache: Path, url: str, count: int) -> None:
    """Measure one contender in one mode, in this process; print the figures as JSON."""
    state_file = cache.with_suffix(".state")
    for library in LIBRARIES[name]:  # importing takes some of them ten seconds, once for each process
        importlib.import_module(library)
    if name == "streaming":
        _streaming()
    begun, cpu = time.perf_counter(), time.process_time()
    flow = KINDS[name](cache, url, 0)
    if mode.startswith("resume"):
        half = json.loads(state_file.read_text())
        flow.load(half["state"])
    found, first = [], None
    for batch in flow:
        first = first or time.perf_counter() - begun
        found += map(int, batch)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    if mode.startswith("resume"):
        found += half["found"]
    exact = sorted(found) == list(range(count))
    if mode == "warm":  # afterwards and uncounted: save the state after half an epoch, for the turns that resume
        flow, half = KINDS[name](cache, url, 0), []
        walk = iter(flow)
        while len(half) < count // 2:
            half += map(int, next(walk))
        state_file.write_text(json.dumps({"state": flow.state(), "found": half}))
    print("RESULT " + json.dumps({"seconds": seconds, "first": first, "cpu": cpu, "exact": exact}), flush=True)
    sys.stdout.flush()
    os._exit(0)  # some contenders leave threads that a normal exit would wait for


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=1000)
    parser.add_argument("--kilobytes", type=int, default=50)
    parser.add_argument("--latency", type=float, default=0.02, help="seconds added to each request")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write")
    parser.add_argument("--turn", nargs=5)
    parser.add_argument("--serve", action="store_true")
    given = parser.parse_args()
    if given.serve:
        return serve(given.latency)
    if given.turn:
        name, mode, cache, url, count = given.turn
        return turn(name, mode, Path(cache), url, int(count))
    os.environ.update(KEYS)
    work = Path(tempfile.mkdtemp(prefix="far-"))
    command = [sys.executable, __file__, "--serve", "--latency", str(given.latency)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        make(work, given.records, 1000 * given.kilobytes, url)
        results: dict[tuple[str, str], list[dict]] = {}
        for number in range(given.rounds):
            for mode in MODES:
                for name in CONTENDERS[number % 3 :] + CONTENDERS[: number % 3]:
                    cache = work / f"cache-{name}"
                    if mode in ("cold", "resume-cold"):
                        shutil.rmtree(cache, ignore_errors=True)
                    seen(url)
                    run = [sys.executable, __file__, "--turn", name, mode, str(cache), url, str(given.records)]
                    done = subprocess.run(run, capture_output=True, text=True, timeout=180)
                    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
                    if lines:
                        results.setdefault((mode, name), []).append({**json.loads(lines[0][7:]), **seen(url)})
                    else:
                        print(f"{name} {mode} failed: {done.stderr[-2000:]}", file=sys.stderr)
        text = table(results, given)
        print(text)
        if given.write:
            Path(given.write).write_text(text)
    finally:
        server.kill()
        shutil.rmtree(work, ignore_errors=True)


def table(results, given) -> str:
    size = given.records * given.kilobytes / 1000
    lines = [
        f"{given.records} records of {given.kilobytes} kB ({size:.0f} MB), {1000 * given.latency:.0f} ms added to each "
        f"request, {given.rounds} rounds, medians.",
        "",
        "| | | seconds | to the first batch | CPU seconds | requests | MB | each record once |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for mode in MODES:
        for name in CONTENDERS:
            found = results.get((mode, name))
            if not found:
                lines.append(f"| {mode} | {name} | failed | | | | | |")
                continue
            middle = {key: statistics.median(one[key] for one in found) for key in found[0] if key != "exact"}
            exact = "yes" if all(one["exact"] for one in found) else "no"
            lines.append(
                f"| {mode} | {name} | {middle['seconds']:.2f} | {middle['first']:.2f} | {middle['cpu']:.2f} | "
                f"{middle['requests']:.0f} | {middle['bytes'] / 1e6:.1f} | {exact} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
