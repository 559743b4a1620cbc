"""Checkpoints whose manifest was damaged: never taken for whole, never an error of another kind."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowtrain.model.checkpoint_io import CheckpointWriter, check_checkpoint, read_checkpoint, read_manifest
from flowtrain.utils.errors import CheckpointError

VARIABLES = {"conv1/kernel": np.arange(12, dtype=np.float32).reshape(3, 4), "step": np.int64(7)}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    writer = CheckpointWriter(tmp_path_factory.mktemp("run") / "step-00000007")
    writer.write(VARIABLES, {"epoch": 1}, {"epoch": 1, "global_step": 7, "model": "Größe"})
    writer.commit()
    return writer.path


@pytest.fixture
def manifest(checkpoint):
    """The path of a manifest that may be changed."""
    path = checkpoint / "manifest.json"
    content = path.read_bytes()
    yield path
    path.write_bytes(content)


def unchecked(path):
    """As an earlier version wrote it: no checksum of its own."""
    content = json.loads(path.read_bytes())
    content.pop("sha256", None)
    return content


def test_a_manifest_is_json_for_people_and_tools(checkpoint):
    content = json.loads((checkpoint / "manifest.json").read_text())
    assert content["global_step"] == 7 and content["model"] == "Größe"
    assert content["variables"]["conv1/kernel"] == {"shape": [3, 4], "dtype": "float32"}
    assert "sha256" not in read_manifest(checkpoint)


def test_no_flipped_byte_goes_unseen(checkpoint, manifest):
    content = manifest.read_bytes()
    assert check_checkpoint(checkpoint) is None
    for place in range(len(content)):
        for flip in (1, 0x20, 0xFF):
            damaged = bytearray(content)
            damaged[place] ^= flip
            manifest.write_bytes(damaged)
            assert "manifest.json is damaged" in (check_checkpoint(checkpoint) or ""), (place, flip)
    for length in range(0, len(content), 7):
        manifest.write_bytes(content[:length])
        assert check_checkpoint(checkpoint) is not None, length
    manifest.write_bytes(content + b" ")
    assert check_checkpoint(checkpoint) is not None


def test_one_of_an_earlier_version_is_taken_when_its_form_is_right(checkpoint, manifest):
    manifest.write_text(json.dumps(unchecked(manifest), indent=1))
    assert check_checkpoint(checkpoint, deep=True) is None
    np.testing.assert_array_equal(read_checkpoint(checkpoint)["conv1/kernel"], VARIABLES["conv1/kernel"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.pop("files"), "lacks 'files'"),
        (lambda m: m.update(files={}), r"lists no variables.data-... file"),
        (lambda m: m.update(files=[]), r"\['files'\] is a list of 0, not a mapping"),
        (lambda m: m["files"].pop("state.msgpack"), "does not list state.msgpack"),
        (lambda m: m["files"].pop("variables.index"), "does not list variables.index"),
        (lambda m: m["files"]["state.msgpack"].pop("sha256"), "no SHA-256 of state.msgpack"),
        (lambda m: m["files"]["state.msgpack"].update(sha256="0" * 63), "not a SHA-256"),
        (lambda m: m["files"]["state.msgpack"].update(rha256="0" * 64), "'rha256', which has no meaning"),
        (lambda m: m["files"]["state.msgpack"].update(bytes=-1), "'bytes'.* is -1, not a whole number"),
        (lambda m: m["files"]["state.msgpack"].update(bytes=True), "is True, not a whole number"),
        (lambda m: m["files"].update({"../state.msgpack": {"bytes": 1}}), "the name of a file in the folder"),
        (lambda m: m["files"].update({"..": {"bytes": 1}}), "the name of a file in the folder"),
        (lambda m: m.pop("variables"), "lacks 'variables'"),
        (lambda m: m["variables"].update(x=None), "'x'.* is None, not a mapping"),
        (lambda m: m.update(format="1"), "is '1', not a whole number"),
        (lambda m: m.update(format=2), "has format 2; this version of flowtrain reads format 1"),
    ],
)
def test_a_wrong_form_is_named(checkpoint, manifest, change, message):
    content = unchecked(manifest)
    change(content)
    manifest.write_text(json.dumps(content, indent=1))
    with pytest.raises(CheckpointError, match=message):
        read_manifest(checkpoint)
    assert check_checkpoint(checkpoint) is not None
    with pytest.raises(CheckpointError):
        read_checkpoint(checkpoint)


@given(
    edits=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4),
    cut=st.integers(0, 10_000),
)
@settings(max_examples=150, deadline=None)
def test_a_mangled_one_without_checksum_is_a_checkpoint_error_at_most(checkpoint, edits, cut):
    path = checkpoint / "manifest.json"
    whole = path.read_bytes()
    content = bytearray(json.dumps(unchecked(path), indent=1).encode())
    for place, byte in edits:
        content[place % len(content)] = byte
    try:
        path.write_bytes(content[: max(1, cut)])
        read_manifest(checkpoint)
    except CheckpointError as error:
        assert str(checkpoint) in str(error)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b'{\n "format": ' + b"9" * 10_000, b'{\n "format": 1e999}'])
def test_odd_contents(checkpoint, manifest, content):
    manifest.write_bytes(content)
    assert "is no whole checkpoint" in check_checkpoint(checkpoint)
