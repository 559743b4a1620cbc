"""Finding what a command was given as FILE.py:name."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import cloudpickle

from ..dataflow import DataFlow
from ..utils.errors import closest
from ..utils.loading import LoadingEnded, look_only

__all__ = ["arguments", "flow_of", "load_name", "load_script"]

_ENDED = "__flowtrain_loading_ended__"  # in the module of a script: why it was not loaded to its end


def load_script(path: str) -> ModuleType:
    """Import a script by its path, to look at what it defines; its own folder is where its imports are found first.

    The script does not train: ``train()`` (and whatever else starts a run) ends the loading there, so that a script
    needs no ``if __name__ == "__main__"``. What is defined above that call is in the module.

    Args:
        path: Of a Python file.

    Raises:
        click.ClickException: There is no such file.
    """
    file = Path(path).resolve()
    if not file.is_file():
        raise click.ClickException(f"there is no file {path}")
    name = f"flowtrain_script_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise click.ClickException(f"{path} is no Python file")
    sys.path.insert(0, str(file.parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    command, sys.argv = sys.argv, [str(file)]  # a script that reads its arguments must not take ours for its own
    try:
        with look_only():
            spec.loader.exec_module(module)
    except LoadingEnded as end:
        module.__dict__[_ENDED] = f"{end.call} in line {end.line} of {Path(end.file).name}"
    except SystemExit:
        module.__dict__[_ENDED] = "it exits"
    finally:
        sys.argv = command
    cloudpickle.register_pickle_by_value(module)  # workers cannot import it by this name
    return module


def load_name(target: str) -> Any:
    """Import what ``FILE.py:name`` names.

    Args:
        target: A path and a name in that file, with a colon between.

    Raises:
        click.ClickException: It is not of that form, or the file has no such name.
    """
    path, colon, name = target.rpartition(":")
    if not colon or not path or not name:
        raise click.ClickException(f"expected FILE.py:name, got {target!r}")
    module = load_script(path)
    if not hasattr(module, name):
        own = [key for key, value in vars(module).items() if not key.startswith("_") and callable(value)]
        ended = getattr(module, _ENDED, None)
        why = f" above the place where loading ends ({ended})" if ended else ""
        raise click.ClickException(f"{path} has no {name!r}{why}. {closest(name, own)}")
    return getattr(module, name)


def flow_of(target: str, given: dict[str, Any]) -> DataFlow:
    """The dataflow that ``FILE.py:name`` is, or that the function of that name returns.

    Args:
        target: A path and a name in that file, with a colon between.
        given: Arguments of the function.

    Raises:
        click.ClickException: It is none, or the function needs other arguments.
    """
    made = found = load_name(target)
    if not isinstance(found, DataFlow) and callable(found):
        try:
            made = found(**given)
        except TypeError as error:
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:
                raise  # from within the function
            raise click.ClickException(f"{target}: {error}. Give its arguments with -a name=value") from error
    if not isinstance(made, DataFlow):
        raise click.ClickException(
            f"{target} must be a function that returns a dataflow; it gave {type(made).__name__}"
        )
    return made


def arguments(given: tuple[str, ...]) -> dict[str, Any]:
    """Turn ``name=value`` into keyword arguments.

    Args:
        given: Values are read as Python literals; what is none stays a string.

    Raises:
        click.ClickException: One has no ``=``.
    """
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise click.ClickException(f"expected name=value, got {text!r}")
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name] = value
    return found
