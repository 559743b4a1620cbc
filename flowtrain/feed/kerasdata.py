"""Dataflows as a ``keras.utils.PyDataset``, for Keras's own ``fit``, ``evaluate`` and ``predict``."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import keras

from flowtrain.dataflow.core.base import DataFlow
from flowtrain.dataflow.core.datapoint import Component, Datapoint
from flowtrain.dataflow.core.proxy import check_flow
from flowtrain.utils.arguments import names_arguments
from flowtrain.utils.errors import ConfigError, DataFlowError, StateError, closest

__all__ = ["to_keras"]

Parts: TypeAlias = "str | int | Sequence[Any] | Mapping[str, Any] | None"
"""Which components: a name or a position, a list of these, or a dict, name of the model's input -> component."""

_KEPT = 4096  # positions that are kept: tf.data reads far fewer batches ahead
_LOOKED_AT = 2  # batches that Keras takes before an epoch, to know their shapes


@names_arguments
def to_keras(ds: DataFlow, inputs: Parts = None, targets: Parts = None, sample_weights: Parts = None) -> KerasData:
    """Make a ``keras.utils.PyDataset`` of a dataflow of batches, for ``model.fit``, ``evaluate`` and ``predict``.

    It works with any backend of Keras. flowtrain's own trainers do not need it, and are faster without.

    Args:
        ds: The flow, which must have a length; each pass over the dataset is its next epoch.
        inputs: Which components the model takes: a name, or a position in a list; a list of these for a model with
            several inputs; a dict, name of the model's input -> component. None: datapoints are lists of inputs,
            targets (if there are two or three components) and sample weights (if there are three).
        targets: Which components are the targets, in the same form; None: none.
        sample_weights: Which components are the weights of the samples, in the same form; None: none.

    Returns:
        The dataset. Batches come in the flow's order, also with ``fit(shuffle=True)``: give the source
        ``shuffle=True`` instead. The flow has the workers (``PrefetchData``); ``workers`` of the dataset are refused.

        An epoch that Keras left early (an error, ``stop_training`` within it) begins again with the next ``fit``,
        unless a state is loaded. ``state_dict(batches)`` is the position after `batches` batches in all; None: after
        those that Keras took. With TensorFlow Keras takes some ahead, so count those that were trained on
        (``on_train_batch_end`` of a callback). After ``load_state_dict(state)`` the next epoch is what is left of the
        one that was interrupted. It needs a ``fit`` of its own, since Keras counts the batches of an epoch only once:
        ``fit(data, initial_epoch=e, epochs=e + 1)``, then ``fit(data, initial_epoch=e + 1, epochs=n)``.

    Raises:
        DataFlowError: `ds` is no DataFlow, or has no length; while iterating: a datapoint lacks a component.
        ConfigError: Workers were asked for, or targets without inputs.

    Example:
        >>> train = to_keras(train_flow, "image", "label")    # doctest: +SKIP
        >>> model.fit(train, validation_data=to_keras(valid_flow, "image", "label"), epochs=5)    # doctest: +SKIP
    """
    check_flow(ds, "to_keras")
    if inputs is None and (targets is not None or sample_weights is not None):
        raise ConfigError("to_keras: say which components are the inputs too, inputs=")
    if sample_weights is not None and targets is None:
        raise ConfigError("to_keras: sample_weights go with targets=")
    if ds.size_or_none() is None:
        raise DataFlowError(
            f"to_keras: {ds} has no known length, and Keras counts the batches of an epoch: FixedSizeData(ds, n) gives "
            "it one"
        )
    return KerasData(ds, inputs, targets, sample_weights)


class KerasData(keras.utils.PyDataset):
    """PyDataset over the batches of a flow; see `to_keras`.

    Keras asks for batches by number: in a random order with ``fit(shuffle=True)``, its default; the first two before an
    epoch, to know their shapes; and in iterations that it does not complete. Each of Keras's iterations begins with a
    look at ``num_batches``. So the k-th number that an iteration asks for is answered by the k-th batch of the epoch,
    and an iteration that begins before the last one is complete begins at the same batch.
    """

    def __init__(self, ds: DataFlow, inputs: Parts, targets: Parts, sample_weights: Parts) -> None:
        super().__init__()
        self._ds, self._parts = ds, (inputs, targets, sample_weights)
        self._turn = threading.Lock()  # Keras asks from a thread of tf.data, callbacks for states from their own
        self._within = False  # whether a fit is in an epoch
        self._forget(None)

    def __setattr__(self, name: str, value: Any) -> None:
        if (name == "workers" and value > 1) or (name == "use_multiprocessing" and value):
            raise ConfigError(
                f"to_keras: {name}={value} would take batches in no order. flowtrain has the workers: "
                "to_keras(PrefetchData(ds, num_proc=2), ...)"
            )
        super().__setattr__(name, value)

    def _forget(self, left: int | None) -> None:
        """Begin at the flow's position; `left` batches of the present epoch are left, None: all."""
        self._done = 0  # batches of all passes that are complete
        self._short = bool(left) and left != len(self._ds)  # the pass is what is left of an epoch
        self._short_ended = False  # such a pass is complete, in the fit that is under way
        self._positions: deque[tuple[int, dict[str, Any]]] = deque(maxlen=_KEPT)
        self._begin_pass(left or len(self._ds))

    def _begin_pass(self, size: int) -> None:
        """Begin a pass of `size` batches at the flow's position."""
        self._size, self._pass_start = size, self._ds.state_dict()
        self._note(0, size)
        self._walk: Iterator[Any] | None = None
        self._taken = 0  # batches that the flow has given in this pass
        self._first: list[Any] = []  # the first of them, which Keras takes twice
        self._ranks: dict[int, int] = {}  # number that Keras asked for -> k: it was the k-th of this iteration
        self._asked = False  # Keras looked at num_batches: its next question begins an iteration

    def _note(self, taken: int, left: int) -> None:
        """Keep the position after `taken` batches of the pass, for `state_dict`."""
        self._positions.append((self._done + taken, {"batches_left": left, "flow": self._ds.state_dict()}))

    def __len__(self) -> int:
        return len(self._ds)

    @property
    def num_batches(self) -> int:
        """The batches of an epoch; of the first one after `load_state_dict` those that are left."""
        with self._turn:
            self._asked = True
            return self._size

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        with self._turn:
            if self._asked:
                self._restart()
            rank = self._ranks.setdefault(index, len(self._ranks))
            if rank < len(self._first):
                batch = self._first[rank]
            elif rank == self._taken:
                batch = self._next()
            else:  # an iteration that Keras has left asks once more
                raise DataFlowError(f"to_keras: batch {index} was taken already")
            if len(self._ranks) == self._size:
                self._done += self._size
                self._short_ended, self._short = self._short, False
                self._begin_pass(len(self._ds))
            return batch

    def __iter__(self) -> Iterator[Any]:
        for index in range(self.num_batches):
            yield self[index]

    def on_epoch_begin(self) -> None:
        self._within = True

    def on_epoch_end(self) -> None:
        if not self._within:  # Keras calls it without a beginning at the start of a fit
            self._short_ended = False
        self._within = False

    def state_dict(self, batches: int | None = None) -> dict[str, Any]:
        """The position after some batches, counted since the dataset was made or a state was loaded.

        Args:
            batches: How many; None: all that Keras took.

        Raises:
            DataFlowError: The position is not known: too long ago, or not reached.
        """
        with self._turn:
            for number, position in reversed(self._positions):
                if batches is None or number == batches:
                    return position
            known = f"{self._positions[0][0]} to {self._positions[-1][0]}"
        raise DataFlowError(f"to_keras: positions after {known} batches are known, not after {batches}")

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on at a saved position: the next epoch is what is left of the one that was saved.

        Raises:
            StateError: `state` is not of such a dataset, or of another flow.
        """
        if not isinstance(state, dict) or state.keys() != {"batches_left", "flow"}:
            raise StateError(f"not a state of to_keras: {state!r:.80}")
        with self._turn:
            self._ds.load_state_dict(state["flow"])
            self._forget(state["batches_left"])

    def _restart(self) -> None:
        """Begin an iteration of Keras's at the first batch of the pass."""
        self._asked = False
        if self._short_ended and self._within:
            raise DataFlowError(
                "to_keras: the epoch that was interrupted is complete, and Keras, which counted its batches, would "
                "take the next one for as short. Let fit end with it, fit(data, initial_epoch=e, epochs=e + 1), and "
                "call fit again for those after it"
            )
        self._short_ended, self._ranks = False, {}
        if self._taken > len(self._first):
            self._ds.load_state_dict(self._pass_start)
            self._begin_pass(self._size)
            self._asked = False

    def _next(self) -> tuple[Any, ...]:
        """The next batch of the pass."""
        for _ in range(2):  # twice, as an iterator that begins at the end of an epoch ends at once
            if self._walk is None:
                self._walk = iter(self._ds)
            for datapoint in self._walk:
                batch = self._chosen(datapoint)
                self._taken += 1
                self._note(self._taken, self._size - self._taken)
                if self._taken <= _LOOKED_AT:
                    self._first.append(batch)
                return batch
            self._walk = None
        raise DataFlowError(f"to_keras: {self._ds} gave {self._taken} batches of {self._size}")

    def _chosen(self, datapoint: Datapoint) -> tuple[Any, ...]:
        inputs, targets, weights = self._parts
        if inputs is None:
            if isinstance(datapoint, Mapping):
                raise DataFlowError(f"to_keras: datapoints are dicts of {list(datapoint)}: say inputs= and targets=")
            if not 1 <= len(datapoint) <= 3:
                raise DataFlowError(
                    f"to_keras: a datapoint has {len(datapoint)} components; say which are inputs= and targets="
                )
            return tuple(datapoint)
        return tuple(_taken(datapoint, part) for part in (inputs, targets, weights) if part is not None)


def _taken(datapoint: Datapoint, part: Parts) -> Component:
    """The components that an argument of `to_keras` names, in its form."""
    if isinstance(part, list | tuple):
        return tuple(_taken(datapoint, one) for one in part)
    if isinstance(part, Mapping):
        return {name: _taken(datapoint, one) for name, one in part.items()}
    try:
        return datapoint[part]
    except (KeyError, IndexError, TypeError):
        keys = list(datapoint) if isinstance(datapoint, Mapping) else list(range(len(datapoint)))
        hint = (
            closest(part, list(map(str, keys)))
            if isinstance(part, str) and all(isinstance(key, str) for key in keys)
            else ""
        )
        raise DataFlowError(
            f"to_keras: a datapoint has no component {part!r}; it has {keys}. {hint}".rstrip()
        ) from None
