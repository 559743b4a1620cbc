"""Loads the model that a command is given: from a file; for a file of weights only, with the model of a script."""

from __future__ import annotations

from typing import Any

import click
import keras

from ..model import ModelDesc
from ..predict.load import WeightsOnlyError, load_graph
from ..predict.loader import with_weights
from .load import F, argument_option, made_by

__all__ = ["model_options", "open_source"]


def model_options(function: F) -> F:
    """Decorator: adds the options --model, --arg, --signature and --averaged, for `open_source`."""
    for option in (
        click.option("--averaged", is_flag=True, help="Use the averages of the weights that the model keeps."),
        click.option("--signature", metavar="NAME", help="Which signature of a SavedModel."),
        argument_option("An argument of the model's class."),
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
    """Load the graph of a file, or the given model with the file's weights.

    Args:
        path: Any file that ``load_predictor`` takes.
        model: ``FILE.py:NAME`` of a ModelDesc or Keras model, or of a class or function that makes one; None: the
            file's own graph.
        args: ``name=value``, arguments of that class or function.
        signature: Name of the signature of a SavedModel.
        averaged: Whether to take the averages of the weights.

    Raises:
        click.ClickException: NAME is not a model and makes none; or the file holds weights only and `model` is None.
    """
    if model is None:
        try:
            return load_graph(path, signature=signature, averaged=averaged)
        except WeightsOnlyError:
            raise click.ClickException(
                f"{path} holds weights only. Give the model that they belong to: --model FILE.py:NAME"
            ) from None
    made = made_by(model, args, ModelDesc | keras.Model)
    if not isinstance(made, ModelDesc | keras.Model):
        raise click.ClickException(
            f"{model} is no model: expected a ModelDesc or Keras model, got {type(made).__name__}"
        )
    return with_weights(made, path, averaged)
