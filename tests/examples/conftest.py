"""Loading the examples' scripts as modules, as `python examples/NAME/script.py` would find each other."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def load(monkeypatch) -> Callable[[str, str], ModuleType]:
    """`load("colorize", "train")` imports examples/colorize/train.py, with its folder on the path."""
    loaded: set[str] = set()

    def from_folder(folder: str, name: str) -> ModuleType:
        path = EXAMPLES / folder
        monkeypatch.syspath_prepend(str(path))
        local = {file.stem for file in path.glob("*.py")}
        for module in local - loaded:
            sys.modules.pop(module, None)
        loaded.update(local)
        return importlib.import_module(name)

    yield from_folder
    for module in loaded:
        sys.modules.pop(module, None)
