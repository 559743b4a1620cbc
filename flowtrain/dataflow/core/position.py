"""The position of a flow as it is saved and loaded: epoch, place in it, seeds, and the place in rows of the source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...utils.errors import StateError
from .datapoint import Position

if TYPE_CHECKING:
    from .base import DataFlow

__all__ = ["go_on_at", "go_to_epoch", "position_of"]

_VERSION = 2


def position_of(flow: DataFlow) -> dict[str, Any]:
    """See ``DataFlow.state_dict``."""
    latest = flow._latest
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
    """See ``DataFlow.load_state_dict``."""
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
    flow._latest = None
    flow._epoch, flow._resume = state["epoch"], position


def go_to_epoch(flow: DataFlow, epoch: int) -> None:
    """Have the next iteration be that of an epoch, from its start; the seeds stay."""
    flow.load_state_dict({**flow.state_dict(), "epoch": epoch, "position": None})


def _in_datapoints(flow: DataFlow, state: dict[str, Any]) -> Position:
    """The saved position, in datapoints of this flow."""
    position = state["position"]
    if state["version"] == 1 and not isinstance(position, (int, type(None))):
        raise StateError(
            f"{flow}: the position was saved by an earlier version, which told it otherwise for flows that can "
            "only be iterated. Start the epoch anew: load the state with position None"
        )
    saved, own = state.get("rows_per_datapoint"), flow.rows_per_datapoint()
    if not isinstance(position, int) or saved is None or own is None or saved == own:
        return position
    # Rows of the source are what a batch size does not change, so a run may go on with another one.
    index, over = divmod(position * saved, own)
    size = flow.size_or_none()
    if size is not None and index >= size:
        return size
    if over:
        raise StateError(
            f"{flow}: the saved position is after {position * saved} rows of the source (datapoints of {saved}), "
            f"but no datapoint of {own} rows begins there. Go on with the same batch size, or one that divides it"
        )
    return index
