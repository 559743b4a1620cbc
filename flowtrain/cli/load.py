"""Loads what a command is given as FILE.py:NAME: imports the script, finds the name, calls the function."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, UnionType
from typing import Any, TypeVar

import click
import cloudpickle

from ..dataflow import DataFlow
from ..utils.errors import closest
from ..utils.loading import LoadingEnded, look_only

__all__ = ["argument_option", "flow_of", "load_script", "made_by"]

F = TypeVar("F", bound=Callable[..., Any])
_ENDED = "__flowtrain_loading_ended__"  # attribute of a script's module: why its loading ended before its last line


def load_script(path: str) -> ModuleType:
    """Import a script by its path, with its folder first on ``sys.path``, to look at what it defines.

    The script does not train: its loading ends at the first call of ``train()`` or of anything else that starts a run,
    so that it needs no ``if __name__ == "__main__"``. The module holds what is defined above that call.

    Args:
        path: A Python file.

    Raises:
        click.ClickException: There is no such file, or it is not Python.
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
    sys.modules[name] = module  # dataclasses and pickle look their module up there, also while it is being run
    command, sys.argv = sys.argv, [str(file)]  # a script that parses its arguments must not see those of this command
    try:
        with look_only():
            spec.loader.exec_module(module)
    except LoadingEnded as end:
        module.__dict__[_ENDED] = f"{end.call} in line {end.line} of {Path(end.file).name}"
    except SystemExit:
        module.__dict__[_ENDED] = "it exits"
    finally:
        sys.argv = command
    cloudpickle.register_pickle_by_value(module)  # worker processes cannot import it: the name exists in this one only
    return module


def made_by(target: str, args: tuple[str, ...], kinds: type | UnionType) -> Any:
    """Import the object that ``FILE.py:name`` names; if it is a function or class and of none of the kinds, call it.

    Args:
        target: ``FILE.py:name``.
        args: ``name=value``, arguments of the function or class.
        kinds: Of what is wanted; what is returned may be of another.

    Raises:
        click.ClickException: `target` has another form, the file does not define the name, or other arguments are
            needed.
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
    found = getattr(module, name)
    if isinstance(found, kinds) or not callable(found):
        return found
    given = _parsed(args)
    try:
        return found(**given)
    except TypeError as error:
        # A traceback of one frame, this one: the call itself failed, its arguments do not fit the signature.
        if error.__traceback__ is None or error.__traceback__.tb_next is not None:
            raise
        raise click.ClickException(
            f"{target}: {error}.{_taken(found)} Give its arguments with -a name=value"
        ) from error


def _taken(function: Callable[..., Any]) -> str:
    """The names that a function takes, for a message; nothing for a builtin that does not tell them."""
    try:
        return f" It takes: {', '.join(inspect.signature(function).parameters) or 'nothing'}."
    except ValueError:
        return ""


def flow_of(target: str, args: tuple[str, ...]) -> DataFlow:
    """The dataflow that ``FILE.py:name`` is, or that the function of that name returns.

    Args:
        target: ``FILE.py:name``.
        args: ``name=value``, arguments of the function.

    Raises:
        click.ClickException: It is not a dataflow, or the function takes other arguments.
    """
    made = made_by(target, args, DataFlow)
    if not isinstance(made, DataFlow):
        raise click.ClickException(
            f"{target} must be a function that returns a dataflow; it gave {type(made).__name__}"
        )
    return made


def argument_option(what: str) -> Callable[[F], F]:
    """The option -a NAME=VALUE, whose values `made_by` takes.

    Args:
        what: The help text.
    """
    return click.option("-a", "--arg", "args", multiple=True, metavar="NAME=VALUE", help=what)


def _parsed(args: tuple[str, ...]) -> dict[str, Any]:
    """Parse ``name=value`` into keyword arguments: values are Python literals, anything else stays a string.

    Raises:
        click.ClickException: One has no ``=``, or its name is not an identifier.
    """
    found: dict[str, Any] = {}
    for text in args:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise click.ClickException(f"expected name=value, got {text!r}")
        try:  # literals and never eval: 'folder=photos' is no name of a variable, and no code is run
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name] = value
    return found
