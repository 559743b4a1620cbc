"""Differences between a run and the checkpoint that it resumes from, and the effect of each on the data and weights."""

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
    """Position of a checkpoint in the data: the row of the epoch that is due, and how many rows an epoch has."""

    row: int
    rows: int | None


class Change(NamedTuple):
    """One difference between a checkpoint's run and this one: a line of the table.

    Attributes:
        what: Name of the setting, such as ``"BatchData.batch_size"``.
        then: Its value when the checkpoint was made.
        now: Its value in this run.
        effect: What the difference does, for people.
        moves: Whether the saved position no longer counts the same datapoints and must be found again by its row.
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
    """Compare two descriptions of a run (see `describe_run`).

    Args:
        then: The description in the checkpoint.
        now: The description of the run that resumes from it.
        place: The checkpoint's position in the data.
        values: The checkpoint's variables, by name. They replace what the script sets, such as a learning rate.
    """
    # Functions are described by a hash of their bytecode, which differs between versions of Python for the same source:
    # then a difference between two functions means nothing.
    same_code = then.get("python") == now.get("python")
    changes = [*_data(then, now, place), *_model(then, now, values), *_rest(then, now)]
    return [
        change
        for change in changes
        if same_code or not (_is_code(change.then) and _is_code(change.now) and not change.refused)
    ]


def table(changes: Sequence[Change]) -> str:
    """The changes as a table for people; at most 12 lines."""
    rows = [(c.what, _shown(c.then), _shown(c.now), c.effect) for c in changes[:_MOST]]
    more = f"\n... and {len(changes) - _MOST} more" if len(changes) > _MOST else ""
    headers = ["changed", "checkpoint", "now", "what that means"]
    return tabulate(rows, headers, tablefmt="simple", maxcolwidths=[28, 26, 26, 60], disable_numparse=True) + more


def _data(then: Mapping[str, Any], now: Mapping[str, Any], place: Place) -> Iterator[Change]:
    before, after = _flat(then["data"]), _flat(now["data"])
    sources = {chain[0]["stage"] for chain in (then["data"], now["data"]) if chain}
    inside = place.row > 0
    lost = (
        f"the order of the epoch is another: after {place.row} rows of it, some would come again, others not at all"
        if inside
        else "from this epoch on"
    )
    if then.get("rows") != now.get("rows"):
        yield Change("rows of an epoch", then.get("rows"), now.get("rows"), lost, moves=True, refused=inside)
    # What a change of the data does depends on the stage it is in. A stage of one datapoint for one leaves each row at
    # its place; one that makes batches moves the borders of batches, not the rows; the source decides what the rows
    # hold. Any other stage may change the number or the order of rows: in mid-epoch that would lose or repeat some.
    for key in {**before, **after}:
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
    """Match the callbacks of this run with those of a checkpoint, so that each gets its own state.

    Callbacks of one class are numbered by their place in the list, which changes when one is added or left out. So they
    are matched by their arguments first. Those without an equal are matched in order, if both runs have as many left.

    Args:
        then: Name -> description, of the checkpoint's callbacks.
        now: Name -> description, of this run's callbacks.

    Returns:
        Name in this run -> name in the checkpoint.
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
    """The innermost entries in which two nested dicts differ: (dotted path, then, now)."""
    if then == now:
        return
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for key in {**then, **now}:
            yield from _differences(then.get(key), now.get(key), f"{path}.{key}" if path else key)
    else:
        yield path, then, now


def _flat(chain: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A chain of stages as one dict, ``"BatchData.batch_size" -> 16``; a second stage of a class is ``BatchData-2``."""
    flat: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for stage in chain:
        name = stage["stage"]
        counts[name] = count = counts.get(name, 0) + 1
        label = name if count == 1 else f"{name}-{count}"
        flat.update({f"{label}.{key}": value for key, value in stage.items()})
    return flat


def _is_code(value: object) -> bool:
    return isinstance(value, str) and value.startswith("function ")


def _shown(value: object) -> str:
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
