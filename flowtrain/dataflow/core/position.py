"""Saving and loading the position of a flow: epoch, place in it, seeds, and the place in rows of the source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...utils.errors import StateError
from .datapoint import Position

if TYPE_CHECKING:
    from .base import DataFlow

__all__ = ["go_on_at", "go_to_epoch", "position_of"]

_VERSION = 2


def position_of(flow: DataFlow) -> dict[str, Any]:
    """The position of a flow's latest iteration as a dict: what ``DataFlow.state_dict`` returns."""
    latest = flow._latest
    # After a whole epoch, and before the first: the position is where the next iteration will start.
    if latest is None or latest.exhausted:
        epoch, position = flow._epoch, flow._resume
    else:
        epoch, position = latest.epoch, latest.state()
    each = flow.rows_per_datapoint()
    rows = (position or 0) * each if each is not None and isinstance(position, (int, type(None))) else None
    return {
        "version": _VERSION,
        "epoch": epoch,
        "position": position,
        "seeds": [stage.seed for stage in flow._random_stages()],
        "rows": rows,
        "rows_per_datapoint": each,
    }


def go_on_at(flow: DataFlow, state: dict[str, Any]) -> None:
    """Set where a flow's next iteration starts, and its seeds: what ``DataFlow.load_state_dict`` does."""
    missing = {"version", "epoch", "position", "seeds"} - set(state if isinstance(state, dict) else ())
    if missing or state["version"] not in (1, _VERSION):
        raise StateError(f"not a dataflow's state (version {_VERSION}): it lacks {sorted(missing)}; got {state!r:.200}")
    stages = flow._random_stages()
    if len(stages) != len(state["seeds"]):
        raise StateError(
            f"the state is of a flow with {len(state['seeds'])} random stages, {flow} has {len(stages)}: "
            f"{', '.join(map(str, stages)) or 'none'}. Build the flow as it was when the state was saved."
        )
    position = _in_datapoints(flow, state)
    for stage, seed in zip(stages, state["seeds"], strict=True):
        stage._set_seed(seed)
    flow._latest = None  # else the position of an iteration before would still be given as that of the flow
    flow._epoch, flow._resume = state["epoch"], position


def go_to_epoch(flow: DataFlow, epoch: int) -> None:
    """Make the next iteration that of a given epoch, from its start; the seeds stay."""
    flow.load_state_dict({**flow.state_dict(), "epoch": epoch, "position": None})


def _in_datapoints(flow: DataFlow, state: dict[str, Any]) -> Position:
    """Convert a saved position to datapoints of this flow, whose batch size may be another one."""
    position = state["position"]
    if state["version"] == 1 and not isinstance(position, (int, type(None))):
        raise StateError(
            f"{flow}: the position was saved by an earlier version, which told it otherwise for flows that can "
            "only be iterated. Start the epoch anew: load the state with position None"
        )
    saved, own = state.get("rows_per_datapoint"), flow.rows_per_datapoint()
    if not isinstance(position, int) or saved is None or own is None or saved == own:
        return position
    # The position in rows of the source does not depend on the batch size, so a run may go on with another one.
    index, over = divmod(position * saved, own)
    size = flow.size_or_none()
    if size is not None and index >= size:  # fewer rows are left than a batch has: the epoch is over
        return size
    if over:
        raise StateError(
            f"{flow}: the saved position is after {position * saved} rows of the source (datapoints of {saved}), "
            f"but no datapoint of {own} rows begins there. Go on with the same batch size, or one that divides it"
        )
    return index
