"""MirrorTo: the run far away is whole, training does not wait for it, and another machine goes on from it exactly."""

from __future__ import annotations

import logging
import shutil

import numpy as np
import pytest

from flowtrain.callbacks import BestSaver, MirrorTo, ModelSaver, PeriodicTrigger
from flowtrain.model.checkpoint_io import check_checkpoint, list_checkpoints
from flowtrain.monitors import read_jsonl
from flowtrain.training import train
from flowtrain.utils import storage
from flowtrain.utils.errors import ConfigError
from flowtrain.utils.storage import StorageError, set_remote_storage

from ..training.helpers import Count, Die, Points, config, same_weights


def run(folder, *callbacks, resume=None, max_epoch=3):
    chosen = [PeriodicTrigger(ModelSaver(), every_k_steps=7), Count(), *callbacks]
    return train(config(folder, callbacks=chosen, max_epoch=max_epoch, dataflow=Points(12)), resume=resume)


@pytest.fixture(params=["s3", "folder", "memory"])
def url(request, tmp_path):
    if request.param == "s3":
        return f"{request.getfixturevalue('s3').url}/run"
    request.getfixturevalue("storage_cache")
    return str(tmp_path / "mirror") if request.param == "folder" else f"memory://{tmp_path.name}/run"


def names(url):
    return [found.removeprefix(f"{url}/") for found in storage.list_folder(url, deep=True)]


@pytest.mark.parametrize("url", ["s3"], indirect=True)
def test_another_machine_goes_on_exactly(tmp_path, url):
    whole = run(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="died"):
        run(tmp_path / "first", MirrorTo(url), Die(24))
    shutil.rmtree(tmp_path / "first")
    again = run(tmp_path / "second", MirrorTo(url), resume="auto")
    assert same_weights(whole, again)
    assert whole.history == again.history
    assert read_jsonl(tmp_path / "second") == whole.history
    for name in whole.variable_names():
        assert np.array_equal(whole.get_variable(name), again.get_variable(name)), name


def test_what_is_there_is_whole_and_not_more_than_is_kept(tmp_path, url):
    run(tmp_path / "run", BestSaver("cost", mode="min"), MirrorTo(url, keep=2))
    found = names(url)
    kept = {name.split("/")[1] for name in found if name.startswith("checkpoints/")}
    newest = [path.name for path in list_checkpoints(tmp_path / "run" / "checkpoints")][:2]
    assert kept == {*newest, "best-cost"}
    for name in kept:
        there = tmp_path / "there" / name
        there.mkdir(parents=True)
        for file in found:
            if file.startswith(f"checkpoints/{name}/"):
                (there / file.rpartition("/")[2]).write_bytes(storage.read_all(f"{url}/{file}"))
        assert check_checkpoint(there, deep=True) is None
    assert "log.txt" in found
    assert not [name for name in found if name.startswith(".")]


def test_half_a_checkpoint_is_not_taken(tmp_path, url, caplog):
    run(tmp_path / "run", MirrorTo(url), max_epoch=2)
    newest, second = sorted({name.split("/")[1] for name in names(url) if "/step-" in name}, reverse=True)
    storage.delete(next(f"{url}/{name}" for name in names(url) if f"{newest}/variables.data" in name))
    MirrorTo(url).fetch(tmp_path / "other")
    assert [path.name for path in list_checkpoints(tmp_path / "other" / "checkpoints")] == [second]
    assert f"{newest} in {url} is not whole" in caplog.text
    storage.delete(f"{url}/checkpoints/{second}/manifest.json")
    MirrorTo(url).fetch(tmp_path / "third")
    assert not list_checkpoints(tmp_path / "third" / "checkpoints")


def test_a_folder_that_is_not_behind_is_left_alone(tmp_path, url):
    run(tmp_path / "run", MirrorTo(url), max_epoch=2)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    MirrorTo(url).fetch(tmp_path / "run")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before
    shutil.rmtree(list_checkpoints(tmp_path / "run" / "checkpoints")[0])
    MirrorTo(url).fetch(tmp_path / "run")
    assert before.keys() == set((tmp_path / "run").rglob("*"))


def test_a_bucket_that_cannot_be_reached_stops_nothing(tmp_path, s3, caplog):
    set_remote_storage(attempts=1)
    s3.proxy.always("503", "PUT")
    with caplog.at_level(logging.WARNING, "flowtrain"):
        trainer = run(tmp_path / "run", MirrorTo(f"{s3.url}/run", wait=20))
    assert trainer.epoch_num == 3
    assert "failed and is tried again" in caplog.text
    assert "not all of" in caplog.text
    s3.proxy.reset()
    run(tmp_path / "run", MirrorTo(f"{s3.url}/run"), resume="auto", max_epoch=4)
    assert list_checkpoints(tmp_path / "run" / "checkpoints")[0].name in {
        name.split("/")[2] for name in s3.names() if "step" in name
    }


def test_a_slow_bucket_is_waited_for_no_longer_than_said(tmp_path, s3, caplog):
    s3.proxy.always("slow", "PUT")
    trainer = run(tmp_path / "run", MirrorTo(f"{s3.url}/run", wait=0.1))
    assert trainer.epoch_num == 3
    assert "within 0.1 s" in caplog.text


def test_a_mirror_that_cannot_be_read_is_an_error_where_there_is_nothing_to_go_on_from(tmp_path, s3):
    set_remote_storage(attempts=1)
    s3.proxy.always("503")
    with pytest.raises(StorageError, match="tried once"):
        run(tmp_path / "run", MirrorTo(f"{s3.url}/run"), resume="auto")
    s3.proxy.reset()
    run(tmp_path / "run", max_epoch=1)
    s3.proxy.always("503")
    assert run(tmp_path / "run", MirrorTo(f"{s3.url}/run", wait=0.1), resume="auto", max_epoch=2).epoch_num == 2


def test_nothing_there_is_a_start_from_the_beginning(tmp_path, url):
    assert run(tmp_path / "run", MirrorTo(url), resume="auto", max_epoch=1).epoch_num == 1


def test_errors_of_use(tmp_path):
    with pytest.raises(ConfigError, match="keep"):
        MirrorTo("s3://bucket/run", keep=0)
    with pytest.raises(ConfigError, match="wait"):
        MirrorTo("s3://bucket/run", wait=0)
    with pytest.raises(ConfigError, match="lie in each other"):
        run(tmp_path / "run", MirrorTo(tmp_path / "run" / "mirror"))
