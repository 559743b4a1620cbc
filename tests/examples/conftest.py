"""Loading the examples' scripts as modules, as `python examples/NAME/script.py` would find each other."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def load() -> Iterator[Callable[[str, str], ModuleType]]:
    """`load("colorize", "train")` imports examples/colorize/train.py, with its folder on the path."""
    here: list[Path] = []

    def leave() -> None:
        for folder in here:
            sys.path.remove(str(folder))
            for file in folder.glob("*.py"):
                sys.modules.pop(file.stem, None)
        here.clear()

    def from_folder(folder: str, name: str) -> ModuleType:
        if here != [EXAMPLES / folder]:  # other examples have modules of the same names
            leave()
            here.append(EXAMPLES / folder)
            sys.path.insert(0, str(here[0]))
        return importlib.import_module(name)

    yield from_folder
    leave()
