"""What differs between a run and the checkpoint that it goes on from, and what that means."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tabulate import tabulate

from .rows import GROUPING, ONE_TO_ONE

__all__ = ["Change", "Place", "find_changes", "same_callbacks", "table"]

# Arguments that decide how fast a datapoint is made, not what is in it.
_SPEED = {
    "buffer_size", "cluster", "hwm", "loop", "num_prefetch", "num_proc", "num_thread", "preload", "restart", "timeout",
    "workers",
}  # fmt: skip
_RUNNERS = {"MultiThreadRunner", "PrefetchData", "PrefetchDataZMQ", "PrintData", "TestDataSpeed"}
_TRAINING = {
    "seed": "nothing: initial weights and orders are the checkpoint's",
    "workers": "nothing: the same rows in the same order, of which each worker takes its part",
    "replicas": "the same rows in the same order; sums round differently, dropout draws other numbers",
}
_MOST = 12  # lines of the table


class Place(NamedTuple):
    """Where in the data the checkpoint is."""

    row: int
    rows: int | None


class Change(NamedTuple):
    """One difference between a checkpoint's run and this one: a line of the table.

    Attributes:
        what: What differs.
        then: As it was when the checkpoint was made.
        now: As it is.
        effect: What that means.
        moves: Whether the position in the data has to be found anew, by its row.
        refused: Whether data would be skipped or repeated.
    """

    what: str
    then: Any
    now: Any
    effect: str
    moves: bool = False
    refused: bool = False


def find_changes(
    then: Mapping[str, Any], now: Mapping[str, Any], place: Place, values: Mapping[str, Any]
) -> list[Change]:
    """Compare two descriptions of a run.

    Args:
        then: That in the checkpoint.
        now: That of the run which goes on.
        place: Where in the data the checkpoint is.
        values: The checkpoint's variables, which take the place of what the script gives.
    """
    same_code = then.get("python") == now.get("python")  # else the same function has another hash
    changes = [*_data(then, now, place), *_model(then, now, values), *_rest(then, now)]
    return [
        change
        for change in changes
        if same_code or not (_is_code(change.then) and _is_code(change.now) and not change.refused)
    ]


def table(changes: Sequence[Change]) -> str:
    """The changes for people to read."""
    rows = [(c.what, _shown(c.then), _shown(c.now), c.effect) for c in changes[:_MOST]]
    more = f"\n... and {len(changes) - _MOST} more" if len(changes) > _MOST else ""
    headers = ["changed", "checkpoint", "now", "what that means"]
    return tabulate(rows, headers, tablefmt="simple", maxcolwidths=[28, 26, 26, 60], disable_numparse=True) + more


def _data(then: Mapping[str, Any], now: Mapping[str, Any], place: Place) -> Iterator[Change]:
    before, after = _flat(then["data"]), _flat(now["data"])
    sources = {_label_of_source(then["data"]), _label_of_source(now["data"])}
    inside = place.row > 0
    lost = (
        f"the order of the epoch is another: after {place.row} rows of it, some would come again, others not at all"
        if inside
        else "from this epoch on"
    )
    if then.get("rows") != now.get("rows"):
        yield Change("rows of an epoch", then.get("rows"), now.get("rows"), lost, moves=True, refused=inside)
    for key in [*before, *(key for key in after if key not in before)]:
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        stage, _, argument = key.partition(".")
        name = stage.partition("-")[0]
        if argument in _SPEED or (name in _RUNNERS and argument == "stage"):
            yield Change(key, old, new, "nothing: the data is the same")
        elif argument == "seed":
            yield Change(key, old, new, "the run keeps the seed of the checkpoint")
        elif name in GROUPING and argument == "batch_size" and old is not None and new is not None:
            where = f"goes on at row {place.row} of {place.rows}" if inside else "from this epoch on"
            yield Change(key, old, new, where, moves=True)
        elif name in GROUPING and argument == "remainder":
            yield Change(key, old, new, "from this epoch on", moves=inside)
        elif name in ONE_TO_ONE or name in GROUPING:
            yield Change(key, old, new, "rows from here on are made in the new way", moves=argument == "stage")
        elif stage in sources and argument not in ("shuffle", "stage"):
            yield Change(key, old, new, f"other data: rows from {place.row} on are those of the new data")
        else:
            yield Change(key, old, new, lost, moves=True, refused=inside)


def _model(then: Mapping[str, Any], now: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[Change]:
    for name, new in now["scalars"].items():
        old = then["scalars"].get(name, new)
        if old != new:
            yield Change(name, old, new, _kept(name, values, name, new))
    for key, old, new in _differences(then["model"], now["model"], "model"):
        yield Change(key, old, new, "trained so from here on")
    for key, old, new in _differences(then["optimizer"], now["optimizer"], "optimizer"):
        name = key.rpartition(".")[2]
        variable = next((v for v in (f"optimizer/{name}", name) if v in values), None)
        if name in now["scalars"]:
            continue
        effect = "from here on" if variable is None else _kept(name, values, variable, new)
        yield Change(key, old, new, effect)


def _kept(name: str, values: Mapping[str, Any], variable: str, new: object) -> str:
    value = f"{float(values[variable]):.6g}" if variable in values else "the checkpoint's value"
    return (
        f"stays at {value}, as the checkpoint has it. To set it: trainer.set_variable({name!r}, {new}), "
        "or a ScheduledHyperParamSetter"
    )


def _rest(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    for key, old, new in _differences(then["training"], now["training"], ""):
        if key != "workers" or old is not None:  # else of a version that did not keep it
            yield Change(key, old, new, _TRAINING.get(key, "from here on"))
    before, after = then["callbacks"], now["callbacks"]
    same = same_callbacks(before, after)
    for name, old in before.items():
        if name not in same.values():
            yield Change(name, old, None, "left out; its state is dropped")
    for name, new in after.items():
        if name not in same:
            yield Change(name, None, new, "begins now")
        else:  # an argument that is the default is not in a description
            for key, its_old, its_new in _differences(before[same[name]], new, name):
                yield Change(key, its_old, its_new, "from here on")


def same_callbacks(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """Which callback of a checkpoint is which of this run.

    Those of one name, which are numbered by their places, are told apart by their arguments. Where arguments have
    changed, those that are left are the same if there are as many as before.

    Args:
        then: Name -> description, of the checkpoint's callbacks.
        now: The same of those of this run.

    Returns:
        The name now -> the name then.
    """
    same: dict[str, str] = {}
    groups: dict[str, tuple[list[str], list[str]]] = {}
    for names, side in ((then, 0), (now, 1)):
        for name in names:
            groups.setdefault(_unnumbered(name, names), ([], []))[side].append(name)
    for before, after in groups.values():
        for name in list(after):
            twin = next((other for other in before if then[other] == now[name]), None)
            if twin is not None:
                same[name] = twin
                before.remove(twin)
                after.remove(name)
        if len(before) == len(after):
            same.update(zip(after, before, strict=True))
    return same


def _unnumbered(name: str, names: Container[str]) -> str:
    base, dash, number = name.rpartition("-")
    return base if dash and number.isdigit() and base in names else name


def _differences(then: object, now: object, path: str) -> Iterator[tuple[str, Any, Any]]:
    """The innermost places where two nested dicts differ."""
    if then == now:
        return
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for key in [*then, *(key for key in now if key not in then)]:
            yield from _differences(then.get(key), now.get(key), f"{path}.{key}" if path else key)
    else:
        yield path, then, now


def _flat(chain: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A chain of stages as ``"BatchData.batch_size" -> 16``; equal stages are numbered."""
    flat: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for stage in chain:
        name = stage["stage"]
        counts[name] = count = counts.get(name, 0) + 1
        label = name if count == 1 else f"{name}-{count}"
        flat.update({f"{label}.{key}": value for key, value in stage.items()})
    return flat


def _label_of_source(chain: Sequence[Mapping[str, Any]]) -> str:
    return chain[0]["stage"] if chain else ""


def _is_code(value: object) -> bool:
    return isinstance(value, str) and value.startswith("function ")


def _shown(value: object) -> str:
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
