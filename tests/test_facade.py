"""The public names: listed once for people and once for type checkers, loaded when first used."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import flowtrain
from flowtrain.utils.arguments import OldName

STUB = Path(flowtrain.__file__).with_suffix(".pyi")


def stub_names() -> dict[str, str]:
    """Public name -> the module that the stub takes it from."""
    imports = [node for node in ast.parse(STUB.read_text()).body if isinstance(node, ast.ImportFrom)]
    return {alias.asname: f".{node.module}" for node in imports for alias in node.names}


def test_the_stub_is_what_python_serves():
    assert sorted(stub_names()) == sorted(set(flowtrain.__all__) - {"__version__"})
    assert set(stub_names()) <= set(dir(flowtrain))
    served: dict = {}
    exec("from flowtrain import *", served)
    assert set(flowtrain.__all__) <= set(served)
    for name, home in stub_names().items():
        assert served[name] is getattr(importlib.import_module(home, "flowtrain"), name), name


@pytest.mark.parametrize("home", sorted(set(stub_names().values())))
def test_every_name_is_in_its_home(home):
    module = importlib.import_module(home, "flowtrain")
    assert {name for name, its in stub_names().items() if its == home} <= set(module.__all__)


def test_a_wrong_name_is_answered_with_the_right_one():
    with pytest.raises(AttributeError, match="PrefetchData"):
        flowtrain.PrefechData


def test_a_name_of_tensorpack_is_answered_with_todays():
    with pytest.raises(OldName, match="Write LMDBData"):
        flowtrain.LMDBDataPoint


@pytest.mark.parametrize(
    ("name", "today"),
    [
        ("CheckpointCallback", r"MaxSaver\(\"validation_PSNR\"\)"),
        ("DatasetFromPatchesImages", "PatchesImages"),
        ("DatasetFactory", r"clean_patches\(folder, noise\)"),
        ("DnCNNSchedule", "ScheduledHyperParamSetter"),
        ("KerasModel", "KerasModelDesc"),
        ("LrSchedulerCallback", "ScheduledHyperParamSetter"),
        ("ModelBase", "ModelDesc"),
        ("PatchesImagesReader", "PatchesImages"),
        ("TFRecords", "OTBTFData"),
        ("TensorboardImage", "add_image_summary"),
        ("TensorflowModelServe", r"tiled\(.*flowtrain predict"),
        ("TfModel", "Denoiser of examples/denoise"),
        ("download_BSDS_grayscale", r"BSDS500.*denoise.py bsds"),
    ],
)
def test_a_name_of_opendenoising_or_otbtf_is_answered_with_todays(name, today):
    with pytest.raises(OldName, match=today):
        getattr(flowtrain, name)


def test_data_scripts_load_no_tensorflow():
    code = (
        "import sys, flowtrain; flowtrain.ImageFromFile, flowtrain.PrefetchData, flowtrain.TFRecordData; "
        "flowtrain.imgaug.Resize, flowtrain.rgb_to_lab; "
        "print([m for m in sys.modules if m.split('.')[0] in ('tensorflow', 'keras')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=250, check=True)
    assert done.stdout.strip() == "[]"
