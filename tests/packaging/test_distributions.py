"""What is in the two files that an index gets, and that the metadata say what the code does."""

import ast
import email
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
IGNORED = (".gitignore",)


def tracked() -> set[str]:
    """The files of the repository."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("this is no checkout: there is nothing to compare with")
    return {name for name in done.stdout.splitlines() if (ROOT / name).exists()}


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """The sdist and the wheel, built from a copy of what is tracked."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    code = (
        "import os, sys, setuptools.build_meta as backend\n_, source, target = sys.argv\nos.chdir(source)\n"
        "backend.build_sdist(target); sys.argv[1:] = []; backend.build_wheel(target)"
    )
    done = subprocess.run([sys.executable, "-c", code, source, target], capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr
    (sdist,) = target.glob("*.tar.gz")
    (wheel,) = target.glob("*.whl")
    return sdist, wheel


def test_the_sdist_holds_all_that_is_tracked(distributions):
    with tarfile.open(distributions[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {name for name in tracked() - names if not name.endswith(IGNORED)} == set()
    assert {"CHANGELOG.md", "docs/index.md", "tests/conftest.py", "examples/colorize/train.py", "Makefile"} <= names


def test_the_wheel_holds_the_package_and_nothing_else(distributions):
    with zipfile.ZipFile(distributions[1]) as archive:
        names = set(archive.namelist())
        metadata = email.message_from_bytes(
            archive.read(next(name for name in names if name.endswith(".dist-info/METADATA")))
        )
        entry = archive.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    package = {name for name in names if ".dist-info/" not in name}
    assert package == {name for name in tracked() if name.startswith("flowtrain/")}
    assert {"flowtrain/py.typed", "flowtrain/__init__.pyi", "flowtrain/report/page/page.html"} <= package
    assert "flowtrain = flowtrain.cli:main" in entry
    assert set(metadata.get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])


def test_readme_links_work_on_an_index(distributions):
    """An index shows README.md alone: a relative link would lead nowhere."""
    with zipfile.ZipFile(distributions[1]) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    description = metadata.get_payload()
    assert metadata["Description-Content-Type"] == "text/markdown" and "## A training script" in description
    links = re.findall(r"\]\(([^)\s]+)\)", description)
    assert [link for link in links if not link.startswith("https://")] == []
    for link in links:  # and what leads into the repository is there
        path = re.search(r"/(?:blob|raw)/main/(.*)", link)
        assert path is None or (ROOT / path[1]).exists(), link


MODULES = {  # the import name, where it is another than the package's
    "opencv-python-headless": "cv2",
    "google-crc32c": "google_crc32c",
    "pyzmq": "zmq",
    "lazy-loader": "lazy_loader",
    "tf2onnx": "tf2onnx",
    "huggingface": "datasets",
    "pillow": "PIL",
}
BEHIND = {  # packages that others import for us: what would fail without them
    "onnx": "tf2onnx writes with it",
    "s3fs": "fsspec opens s3:// with it",
    "gcsfs": "fsspec opens gs:// with it",
    "aiohttp": "fsspec opens https:// with it",
}


def imported() -> set[str]:
    """Top-level modules that flowtrain imports or requires by name."""
    found = set()
    for path in (ROOT / "flowtrain").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module.split(".")[0])
            elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                if called in ("require", "import_module", "find_spec") and isinstance(node.args[0].value, str):
                    found.add(node.args[0].value.split(".")[0])
    return found


def packages(requirements) -> set[str]:
    names = {re.match(r"[A-Za-z0-9._-]+", text)[0].lower().replace("_", "-") for text in requirements}
    return names - {"flowtrain"}


def test_each_dependency_is_imported_by_a_module():
    modules = imported()
    work = ("dev", "docs", "fuzz")  # for working on flowtrain, not for using it
    extras = {name: part for name, part in PROJECT["optional-dependencies"].items() if name not in work}
    for name, requirements in {"dependencies": PROJECT["dependencies"], **extras}.items():
        for package in packages(requirements) - set(BEHIND):
            assert MODULES.get(package, package.replace("-", "_")) in modules, f"{name}: no module imports {package}"


def test_each_import_is_a_dependency():
    extras = [text for part in PROJECT["optional-dependencies"].values() for text in part]
    declared = packages([*PROJECT["dependencies"], *extras])
    known = {MODULES.get(package, package.replace("-", "_")) for package in declared}
    known |= {"google", "ml_dtypes"}  # these come with TensorFlow
    known |= {"albumentations", "scipy"}  # for who has them: an adapter, and sparse matrices
    foreign = {name for name in imported() if name not in sys.stdlib_module_names and name != "flowtrain"}
    assert foreign - known == set()
