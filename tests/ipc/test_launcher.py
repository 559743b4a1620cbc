"""Leaving a process while workers are being started."""

import threading

import pytest

from flowtrain.ipc.launcher import Launcher
from flowtrain.utils.errors import WorkerDied


def test_who_leaves_does_not_wait_for_imports_of_workers(tmp_path, monkeypatch):
    (tmp_path / "imports_for_ever.py").write_text(
        f"import pathlib, time\npathlib.Path({str(tmp_path / 'begun')!r}).touch()\ntime.sleep(1e6)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    launcher, raised = Launcher(), []

    def spawn():
        try:
            launcher.spawn({}, [], ("imports_for_ever",))
        except WorkerDied as error:
            raised.append(str(error))

    thread = threading.Thread(target=spawn, daemon=True)
    thread.start()
    while not (tmp_path / "begun").exists():
        thread.join(0.02)
    launcher.leave()
    thread.join(100)
    assert raised == ["no worker can be started: this process is ending"]
    with pytest.raises(WorkerDied, match="is ending"):
        launcher.spawn({}, [], ())
