"""The public names: listed once for people and once for type checkers, loaded when first used."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import flowtrain
from flowtrain.utils.arguments import OldName
from flowtrain.utils.lazy_names import stub_names

ROOT = Path(flowtrain.__file__).parent
STUBS = sorted(ROOT.rglob("__init__.pyi"))


def test_the_stub_is_what_python_serves():
    names = stub_names(ROOT / "__init__.pyi")
    assert sorted(names) == sorted(set(flowtrain.__all__) - {"__version__"})
    assert set(names) <= set(dir(flowtrain))
    served: dict = {}
    exec("from flowtrain import *", served)
    assert set(flowtrain.__all__) <= set(served)
    for name, home in names.items():
        module = importlib.import_module(f".{home}" if home else ".", "flowtrain")
        assert served[name] is getattr(module, name), name
        assert name in getattr(module, "__all__", [name]), (name, home)


@pytest.mark.parametrize("stub", STUBS, ids=lambda stub: stub.parent.name)
def test_a_package_serves_what_its_stub_lists(stub):
    package = importlib.import_module(".".join(stub.parent.relative_to(ROOT.parent).parts))
    assert sorted(stub_names(stub)) == sorted(set(package.__all__) - {"__version__"})
    for name in stub_names(stub):
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match=f"{package.__name__} has no 'no_such_name'"):
        package.no_such_name


def test_a_package_beneath_is_there_before_anything_imports_it():
    code = "import flowtrain as ft; ft.dataflow.formats.write; assert ft.metrics.psnr"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["ModelCheckpoint", "ReduceLROnPlateau", "DataLoader", "RunOp", "logger"])
def test_a_name_of_another_library_is_answered_with_what_is_here(name):
    with pytest.raises(OldName, match=rf"^flowtrain has no '{name}'\. Write \w+"):
        getattr(flowtrain, name)


def test_a_public_name_is_written_once():
    lines = [line for stub in STUBS for line in ast.parse(stub.read_text()).body if isinstance(line, ast.ImportFrom)]
    names = [alias.name for line in lines for alias in line.names if alias.name != "*"]
    twice = {name for name in names if names.count(name) > 1}
    assert twice == {"lab_to_rgb"}, "dataflow's over arrays, layers' over tensors"
    for line in lines:
        assert all(alias.asname == alias.name for alias in line.names if alias.name != "*"), "X as X: re-exported"


@pytest.mark.parametrize("stub", STUBS, ids=lambda stub: stub.parent.name)
def test_no_public_name_is_that_of_a_module_beside_it(stub):
    """Importing flowtrain/predict/tiled.py would set flowtrain.predict.tiled to the module, whatever it was before."""
    modules = {path.stem for path in stub.parent.iterdir()}
    assert not [name for name, home in stub_names(stub).items() if name in modules and home]


def test_of_equal_names_the_last_holds():
    from flowtrain.layers.lab import lab_to_rgb

    assert flowtrain.lab_to_rgb is lab_to_rgb


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
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=800, check=True)
    assert done.stdout.strip() == "[]"
