"""The model that a command is given: a file, and where it holds weights only, the script of their model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
import keras

from ..model import ModelDesc
from ..predict.load import WeightsOnlyError, load_graph
from ..predict.loader import with_weights
from .load import arguments, load_name

__all__ = ["model_options", "open_source"]

F = TypeVar("F", bound=Callable[..., Any])


def model_options(function: F) -> F:
    """The options that `open_source` takes."""
    for option in (
        click.option("--signature", metavar="NAME", help="Which signature of a SavedModel."),
        click.option(
            "-a", "--arg", "args", multiple=True, metavar="NAME=VALUE", help="An argument of the model's class."
        ),
        click.option(
            "-m",
            "--model",
            metavar="FILE.py:NAME",
            help="The ModelDesc or Keras model, where the file has only weights.",
        ),
    ):
        function = option(function)
    return function


def open_source(
    path: str, model: str | None, args: tuple[str, ...], signature: str | None = None, averaged: bool = False
) -> Any:
    """The model of a file: its graph, or the given model with the file's weights.

    Args:
        path: Any file that ``load_predictor`` takes.
        model: ``FILE.py:NAME`` of a ModelDesc, Keras model, or a class or function that makes one.
        args: ``name=value`` for it.
        signature: Of a SavedModel.
        averaged: Whether averages of the weights are wanted.

    Raises:
        click.ClickException: NAME is or makes no model, or is missing where the file has only weights.
    """
    if model is None:
        try:
            return load_graph(path, signature=signature, averaged=averaged)
        except WeightsOnlyError:
            raise click.ClickException(
                f"{path} holds weights only. Give the model that they belong to: --model FILE.py:NAME"
            ) from None
    made = load_name(model)
    if not isinstance(made, ModelDesc | keras.Model) and callable(made):
        try:
            made = made(**arguments(args))
        except TypeError as error:
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:
                raise  # from within the model
            raise click.ClickException(f"{model}: {error}. Give arguments with -a name=value") from error
    if not isinstance(made, ModelDesc | keras.Model):
        raise click.ClickException(
            f"{model} is no model: expected a ModelDesc or Keras model, got {type(made).__name__}"
        )
    return with_weights(made, path, averaged)
