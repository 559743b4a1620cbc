"""Lazy loading of a package's public names, which its stub lists once for type checkers, editors and Python."""

from __future__ import annotations

import ast
import functools
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lazy_loader

from .arguments import missing_name
from .old_names import OLD_NAMES
from .optional import raise_missing

__all__ = ["lazy_names", "stub_names"]


def lazy_names(
    package: str, file: str, old: Mapping[str, str] = OLD_NAMES
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Serve the names that a package's stub lists; each is loaded when it is first used.

    Args:
        package: The package's ``__name__``.
        file: Its ``__file__``; the stub is the ``.pyi`` beside it, see `stub_names`.
        old: Other libraries' name -> what to write instead.

    Returns:
        The package's ``__getattr__``, ``__dir__`` and ``__all__``. A name that the stub lacks is a package beneath, or
        an error that tells the nearest names, or what another library's name is called here.
    """
    homes = stub_names(Path(file).with_suffix(".pyi"))
    names_of: dict[str, list[str]] = {}
    for name, home in homes.items():
        names_of.setdefault(home, []).append(name)
    load, listed, names = lazy_loader.attach(package, names_of.pop("", []), names_of)

    def __getattr__(name: str) -> Any:
        if name not in homes:
            if Path(file).parent.joinpath(name, "__init__.py").exists():  # ft.dataflow, before anything imported it
                return importlib.import_module(f"{package}.{name}")
            raise missing_name(package, name, names, old)
        try:
            return load(name)
        except ImportError as error:
            raise_missing(error, f"{package}.{name}")

    return __getattr__, listed, names


@functools.cache
def stub_names(stub: Path) -> dict[str, str]:
    """Read the names of a stub, and for each the module to load it from.

    A line of a stub names a module's class or function, ``from .lmdb import LMDBData as LMDBData``; a module,
    ``from . import imgaug as imgaug``; or all names of the stub of a package beneath, ``from .formats import *``. Of
    equal names the last one counts, as in Python and for type checkers. (``lazy_loader.attach_stub`` refuses stars, so
    stubs are read here.)

    Args:
        stub: Path of the ``.pyi``.

    Returns:
        Name -> dotted path of its module from the stub's package: ``{"LMDBData": "formats.lmdb"}``. For a module it is
        the package that the module is in: ``""`` for the stub's own.
    """
    names: dict[str, str] = {}
    for line in ast.parse(stub.read_text(encoding="utf-8")).body:
        if not isinstance(line, ast.ImportFrom):
            continue
        if line.level != 1:
            raise SyntaxError(f"{stub}:{line.lineno}: a stub imports from its own package: from .module import name")
        home = line.module or ""
        for alias in line.names:
            if alias.name != "*":
                names[alias.name] = home
                continue
            beneath = stub_names(stub.parent.joinpath(*home.split("."), "__init__.pyi"))
            names.update({name: f"{home}.{deeper}".rstrip(".") for name, deeper in beneath.items()})
    return names
