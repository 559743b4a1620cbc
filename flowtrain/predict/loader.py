"""ModelLoader: puts weights from any file into a model by name, and reports what fits and what does not."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tabulate import tabulate

from flowtrain.model import ModelDesc, ModelGraph
from flowtrain.model.keras_names import names_in_run
from flowtrain.model.store import read_value
from flowtrain.utils.arguments import names_arguments, refuse_class
from flowtrain.utils.errors import CheckpointError, ModelError, first_few

from .weights import read_weights

__all__ = ["LoadReport", "ModelLoader", "get_model_loader", "with_weights"]

logger = logging.getLogger("flowtrain.predict")

# Names of variables that only training needs: slots of optimizers, counters, averages. In a file they may be left over,
# and a model may lack them. The lines: flowtrain's scopes; Keras's optimizers; TensorFlow 1's slots; its counters.
_TRAINING = re.compile(
    r"(optimizer|training|average|summaries)/.*"
    r"|(ada\w+|nadam|sgd|rmsprop|ftrl|lion|lamb|muon|loss_scale\w*?)(_\d+)?/.*"
    r"|.*/(Adam(_\d+)?|Momentum|RMSProp(_\d+)?|Adagrad|ExponentialMovingAverage|EMA)"
    r"|(.*/)?(global_step|save_counter|beta[12]_power(_\d+)?|iterations?|learning_rate)",
    re.IGNORECASE,
)


@dataclass
class LoadReport:
    """Result of comparing or loading weights, by name.

    Attributes:
        matched: Name of the model's variable -> name in the file, after renaming.
        missing: Variables of the model that the file does not have.
        unexpected: Names in the file that the model does not have.
        misshaped: Name -> (shape in the model, shape in the file).
        ignored: Names in the file that only training needs: slots of optimizers, counters.
    """

    matched: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshaped: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)

    @property
    def fits(self) -> bool:
        """Whether every variable has a value in the file and no value is left over."""
        return not (self.missing or self.unexpected or self.misshaped)

    def table(self, matched: bool = False) -> str:
        """A table of everything that does not fit; with ``matched`` also of everything that does."""
        rows = [[name, "missing", "the file has no such name"] for name in self.missing]
        rows += [[name, "unexpected", "the model has no such variable"] for name in self.unexpected]
        rows += [
            [name, "other shape", f"the model has {model}, the file {given}"]
            for name, (model, given) in self.misshaped.items()
        ]
        if matched:
            rows += [[name, "matched", given if given != name else ""] for name, given in self.matched.items()]
        return tabulate(rows, ["name", "", ""], disable_numparse=True)

    def __str__(self) -> str:
        return (
            f"{len(self.matched)} matched, {len(self.missing)} missing, {len(self.unexpected)} unexpected, "
            f"{len(self.misshaped)} of another shape"
        )


@names_arguments
class ModelLoader(Mapping[str, np.ndarray]):
    """Weights by name, ready to be put into a model. Made by :func:`get_model_loader`.

    It is a mapping from name to array, so it is accepted wherever weights are.

    Args:
        weights: Name -> array, after renaming.
        source: The file or other origin, for messages.
        ignore_mismatch: Load what fits and ignore the rest.
    """

    def __init__(self, weights: Mapping[str, np.ndarray], source: str, ignore_mismatch: bool = False) -> None:
        self.weights = dict(weights)
        self.source = source
        self.ignore_mismatch = ignore_mismatch

    def __getitem__(self, name: str) -> np.ndarray:
        return self.weights[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.weights)

    def __len__(self) -> int:
        return len(self.weights)

    def __repr__(self) -> str:
        return f"ModelLoader({self.source}: {len(self)} arrays)"

    def compare(self, model: object) -> LoadReport:
        """Report what would fit, and change nothing.

        Args:
            model: As for `restore`.
        """
        return self._compared(model)[1]

    def _compared(self, model: object) -> tuple[Mapping[str, Any], LoadReport]:
        """The model's variables, under the names that fit best, and the report for these names."""
        variables = _variables_of(model)
        report = self._report(variables)
        if isinstance(model, keras.Model) and not report.fits:  # the file may be of a run that trained such a model
            as_trained = names_in_run(model)
            other = self._report(as_trained)
            if len(other.matched) > len(report.matched):
                return as_trained, other
        return variables, report

    def _report(self, variables: Mapping[str, Any]) -> LoadReport:
        taken = _places(list(self.weights), variables)
        by_variable = {place: name for name, place in taken.items() if place in variables}
        report = LoadReport()
        for name, variable in variables.items():
            if name not in by_variable and name.removeprefix("average/") in by_variable:
                by_variable[name] = by_variable[name.removeprefix("average/")]  # averages begin at the weights
            if name not in by_variable:
                # A file of weights alone (a SavedModel, .h5) has no learning rate or slots: the model keeps its own.
                if not _made_by_training(name, variable):
                    report.missing.append(name)
                continue
            expected, given = tuple(variable.shape), np.shape(self.weights[by_variable[name]])
            if expected == given:
                report.matched[name] = by_variable[name]
            else:
                report.misshaped[name] = (expected, given)
        for name, place in taken.items():
            if place not in variables:
                (report.ignored if _TRAINING.fullmatch(name) else report.unexpected).append(name)
        return report

    def restore(self, model: object) -> LoadReport:
        """Put the weights into a model.

        Args:
            model: A trainer, ModelGraph, Keras model, or a dict of variables by name. A Keras model also takes the
                weights of a run that trained one like it in a KerasModelDesc, whatever names Keras gave to its layers.

        Returns:
            What fitted and what did not.

        Raises:
            CheckpointError: Nothing fits; or names or shapes do not fit, and ignore_mismatch is False. Nothing has been
                changed then. The message has a table of all that does not fit.
        """
        variables, report = self._compared(model)
        if not report.matched or not (report.fits or self.ignore_mismatch):  # if nothing fits, it is the wrong file
            raise CheckpointError(
                f"the weights of {self.source} do not fit the model: {report}.\n{report.table()}\n"
                "Pass rename={regular expression: replacement} where names differ, or ignore_mismatch=True to load "
                "what fits."
            )
        for name, given in report.matched.items():
            variable = variables[name]
            value = self.weights[given]
            # The file may have another float type than the variable: float32 weights for a model in bfloat16.
            variable.assign(value.astype(read_value(variable).dtype))
        logger.info("weights of %s: %s", self.source, report)
        if not report.fits:
            logger.warning("not loaded from %s:\n%s", self.source, report.table())
        return report


@names_arguments
def get_model_loader(
    source: str | Path | Mapping[str, Any], ignore_mismatch: bool = False, rename: Mapping[str, str] | None = None
) -> ModelLoader:
    """Read weights of any format, to put them into a model by name.

    No code in a file is run, and no pickle is ever read.

    Args:
        source: An own checkpoint or a run's log folder; a ``tf.train.Checkpoint``; the variables of a TensorFlow 1
            ``.ckpt`` (its prefix, ``.index`` or ``.meta``); a SavedModel; ``.keras``, ``.h5``, ``.weights.h5``,
            ``.npz``; or a dict of arrays by name.
        ignore_mismatch: Load what fits. Without it, these are errors: a variable that the file lacks or has with
            another shape, and a name in the file that the model lacks.
        rename: Regular expression -> replacement, applied to the file's names with ``re.sub``, one after the other:
            ``{r"^generator/": "", r"/W$": "/kernel"}``.

    Returns:
        The loader; ``loader.restore(trainer)`` puts the weights in, ``loader.compare(trainer).table()`` only looks.

    Raises:
        CheckpointError: There is no such file, it is damaged or a pickle; or a rename matches nothing, or gives two
            arrays one name.

    Example:
        >>> loader = get_model_loader({"scope/conv1/W": np.zeros((3, 3, 1, 8))},
        ...                           rename={"^scope/": "", "W$": "kernel"})
        >>> list(loader)
        ['conv1/kernel']
    """
    shown = f"a dict of {len(source)} arrays" if isinstance(source, Mapping) else str(source)
    return ModelLoader(_renamed(read_weights(source), rename or {}, shown), shown, ignore_mismatch)


def with_weights(model: object, weights: Any, averaged: bool = False) -> Any:
    """Build a model if need be, and load weights into it.

    Args:
        model: A ModelDesc, which is built; or anything that `ModelLoader.restore` takes, which is changed in place.
        weights: What `get_model_loader` takes, or the loader it returned.
        averaged: Load moving averages too. After a training with the callback EMA a file has them even if the model
            does not ask for them.

    Returns:
        The graph of the ModelDesc, or the model itself.
    """
    loader = weights if isinstance(weights, ModelLoader) else get_model_loader(weights)
    graph = ModelGraph(model) if isinstance(model, ModelDesc) else model
    if averaged and isinstance(graph, ModelGraph) and graph.average is None and "average/steps" in loader:
        graph.keep_average(0.999)  # the decay matters to training alone
    loader.restore(graph)
    return graph


def _renamed(weights: dict[str, np.ndarray], rules: Mapping[str, str], source: str) -> dict[str, np.ndarray]:
    names = {name: name for name in weights}
    for pattern, replacement in rules.items():
        try:
            regex = re.compile(pattern)
        except re.error as error:
            raise CheckpointError(f"rename: {pattern!r} is no regular expression: {error}.") from None
        if not any(regex.search(new) for new in names.values()):
            raise CheckpointError(
                f"rename: {pattern!r} matches none of the names in {source}: {first_few(sorted(names.values()), 20)}."
            )
        try:
            names = {old: regex.sub(replacement, new) for old, new in names.items()}
        except re.error as error:
            raise CheckpointError(f"rename: {replacement!r} cannot replace {pattern!r}: {error}.") from None
    result: dict[str, np.ndarray] = {}
    origin: dict[str, str] = {}
    for old, new in names.items():
        if new in result:
            raise CheckpointError(f"rename makes both {origin[new]!r} and {old!r} of {source} into {new!r}.")
        result[new], origin[new] = weights[old], old
    return result


def _variables_of(model: Any) -> Mapping[str, Any]:
    refuse_class("the model", model, ModelError)
    if isinstance(model, ModelGraph):
        return model.store.variables
    if isinstance(model, keras.Model):
        return {variable.path: variable for variable in model.variables}
    if isinstance(model, Mapping):
        return model
    graph = getattr(model, "graph", None)
    if isinstance(graph, ModelGraph):
        return graph.store.variables
    raise ModelError(
        f"Weights can be put into a trainer, ModelGraph, Keras model or dict of variables, not {type(model).__name__}."
    )


def _places(names: list[str], variables: Mapping[str, Any]) -> dict[str, str]:
    """The variable that each name of a file means: name in the file -> name in the model, or itself if there is none.

    If no name fits, a scope around the whole model, in the model or in the file, is ignored: Keras puts a Sequential's
    name before all of its variables, and makes up another one in each process.
    """
    numbered = _numbered_places(variables)
    own, given = _scope_around(list(variables)), _scope_around(names)
    # Names as they are; with the model's scope in front; without the file's; with one exchanged for the other.
    for old, new in (("", ""), ("", own), (given, ""), (given, own)):
        moved = {name: new + name.removeprefix(old) if name.startswith(old) else name for name in names}
        places = {name: place if place in variables else numbered.get(place, name) for name, place in moved.items()}
        if any(place in variables for place in places.values()):
            return places
    return {name: name for name in names}


def _scope_around(names: list[str]) -> str:
    """The first part of the names, with its slash, if all names that are not training's share it; else "".

    Example: ``sequential_3/`` of ``sequential_3/dense/kernel`` and ``sequential_3/dense/bias``.
    """
    first = {name.split("/")[0] + "/" if "/" in name else "" for name in names if not _TRAINING.fullmatch(name)}
    return first.pop() if len(first) == 1 else ""


def _numbered_places(variables: Mapping[str, Any]) -> dict[str, str]:
    """Names in files that only number a layer's variables -> names in the model: conv1/0 -> conv1/kernel."""
    layers: dict[str, list[str]] = {}
    for name in variables:
        layers.setdefault(name.rpartition("/")[0], []).append(name)
    places = {}
    for layer, names in layers.items():
        ordered = sorted(names, key=lambda name: not variables[name].trainable)  # as Keras saves them
        for number, name in enumerate(ordered):
            places[f"{layer}/{number}".lstrip("/")] = name
    return places


def _made_by_training(name: str, variable: keras.Variable) -> bool:
    """Whether the model works without a variable's value: scalars such as learning rates, random states, slots."""
    if variable.trainable:
        return False
    integers = "int" in str(variable.dtype)
    return tuple(variable.shape) == () or integers or _TRAINING.fullmatch(name) is not None
