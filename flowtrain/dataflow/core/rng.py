"""Randomness by position: what datapoint i of epoch e draws depends on (seed, stream, e, i) and on nothing else.

Philox is a counter-based generator (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): its
output is a function of a key and a counter. The seed is the key; stream, epoch and index are three words of the
counter. So any process can make any datapoint, in any order, and gets the same one.
"""

from __future__ import annotations

import threading
from typing import Any, NoReturn

import numpy as np

__all__ = ["Permutation", "RandomStream", "misplaced"]

_SMALL = 1024
_BLOCK = 8192  # a power of two: how many entries are computed at once, so that one costs some 20 ns
_ROUNDS = 8  # even, so that both halves of a number have their own width again at the end
_TABLED = 12  # bits of half a number up to which a round's function is looked up in a table
_UNSIGNED = 2**63 - 1  # mask of all bits but the sign
_WORD = 2**64 - 1  # mask of a word of the counter: stages that repeat others may count epochs beyond it
_ORDER_WORD = 2**63  # no index is as large: keeps the draws of an epoch's order apart from those of its datapoints


_OF_RANDOM_STATE = {
    "rand": "random",
    "randint": "integers",
    "randn": "standard_normal",
    "random_integers": "integers",
    "random_sample": "random",
    "ranf": "random",
}


class _Generator(np.random.Generator):
    """NumPy's Generator, whose AttributeError says what a method of the old RandomState is called today."""

    def __getattr__(self, name: str) -> NoReturn:
        today = _OF_RANDOM_STATE.get(name)
        mend = f": write rng.{today}(...), it is a numpy.random.Generator" if today else ""
        raise AttributeError(f"a Generator has no attribute {name!r}{mend}", name=name, obj=self)


class RandomStream:
    """The random numbers of one stage: a NumPy generator for each (epoch, index).

    Making a generator object costs about 10 us, setting the counter of one that exists about 1.5 us: so each
    thread keeps one and moves it.

    Args:
        seed: The key.
        number: Which stream of this seed; each random stage of a chain has its own.

    Example:
        >>> stream = RandomStream(seed=0, number=0)
        >>> a = stream.at(epoch=0, index=5).random()
        >>> a == stream.at(epoch=0, index=5).random()
        True
    """

    def __init__(self, seed: int, number: int) -> None:
        self.seed, self.number = seed, number
        self._local = threading.local()
        self._order: tuple[int, Permutation] | None = None  # of the latest epoch that was asked for

    def __reduce__(self) -> tuple[Any, ...]:  # without the threads' generators, which cannot be pickled
        return RandomStream, (self.seed, self.number)

    def at(self, epoch: int, index: int) -> np.random.Generator:
        """The generator at the start of the numbers of one datapoint.

        It is the calling thread's only one: use it before the next call of ``at`` on this stream.

        Args:
            epoch: Which pass over the data, from 0.
            index: Which datapoint of the pass, from 0.
        """
        local = self._local
        try:
            bits, state, generator = local.parts
        except AttributeError:
            bits = np.random.Philox(key=self.seed)
            state = bits.state
            generator = _Generator(bits)
            local.parts = bits, state, generator
        # Philox counts up the first word itself with every four words that it gives: 2**66 for each datapoint.
        state["state"]["counter"][:] = (0, index & _WORD, epoch & _WORD, self.number)
        # What the generator kept of the datapoint before is dropped: the rest of four words, and half a word.
        state["buffer_pos"] = 4
        state["has_uint32"] = 0
        bits.state = state
        return generator

    def fresh(self, epoch: int) -> np.random.Generator:
        """A new generator for a whole epoch, for flows that are not made by index.

        Args:
            epoch: Which pass over the data, from 0.
        """
        # at an index that no datapoint has
        return _Generator(np.random.Philox(key=self.seed, counter=_counter(2**64 - 1, epoch, self.number)))

    def permutation(self, size: int, epoch: int) -> Permutation:
        """The random order of one epoch, computed by index.

        The latest one is kept, so that asking for it with each datapoint costs little.

        Args:
            size: How many datapoints the epoch has.
            epoch: Which pass over the data, from 0.
        """
        held = self._order
        if held is not None and held[0] == epoch and held[1].size == size:
            return held[1]
        order = self.part_permutation(size, epoch, 0)
        self._order = epoch, order  # one tuple, set at once: no thread sees the epoch of one order with another
        return order

    def part_permutation(self, size: int, epoch: int, part: int) -> Permutation:
        """The random order of one of several parts that an epoch is divided into; not kept.

        Args:
            size: How many datapoints the part has.
            epoch: Which pass over the data, from 0.
            part: Number of the part; each has an order of its own. 0 is that of the epoch itself.
        """
        keys = np.random.Philox(key=self.seed, counter=_counter(_ORDER_WORD + part, epoch, self.number))
        return Permutation(size, keys.random_raw(_ROUNDS))


def misplaced(indices: np.ndarray, size: int) -> int | None:
    """One of the indices (int64) that is outside of 0 to ``size - 1``; None if there is none."""
    largest = indices.view(np.uint64).max(initial=0)  # as unsigned numbers, negative ones are the largest
    return int(largest.view(np.int64)) if indices.size and largest >= size else None


class Permutation:
    """A random order of ``range(size)`` that is computed by index and never stored.

    A Feistel network over the smallest power of two that holds ``size``, walked along its cycles until it lands
    inside (Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002). The first index of an order of
    10**9 costs no more than that of a thousand. Up to 1024 entries, where a network of a few bits would be a poor
    shuffle, NumPy's own permutation is used.

    Args:
        size: How many entries.
        keys: 8 words of 64 bits, drawn at random: they are the order.

    Example:
        >>> order = RandomStream(0, 0).permutation(10**9, epoch=0)
        >>> 0 <= order[5] < 10**9
        True
    """

    def __init__(self, size: int, keys: np.ndarray) -> None:
        self.size = size
        self._keys = np.asarray(keys, np.uint64)
        bits = max((size - 1).bit_length(), 2)
        self._widths = bits // 2, bits - bits // 2
        self._tables: list[np.ndarray] | None = None
        # The latest block, for take and for [] (as a list: an array would make a NumPy scalar for each entry). Each is
        # one tuple with its number, set at once: no thread sees the number of one block with another.
        self._block: tuple[int, np.ndarray] = -1, np.empty(0, np.int64)
        self._listed: tuple[int, list[int]] = -1, []

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> int:
        number, offset = divmod(index, _BLOCK)
        listed = self._listed
        if listed[0] != number:
            self._listed = listed = number, self._computed(number).tolist()
        return listed[1][offset]

    def take(self, indices: np.ndarray) -> np.ndarray:
        """The entries at some places.

        Args:
            indices: int (N,), each from 0 to ``size - 1``.

        Returns:
            int64 (N,).

        Raises:
            IndexError: There is no such place.
        """
        indices = np.asarray(indices)
        if not indices.size:
            return np.empty(0, np.int64)
        indices = indices.astype(np.int64, casting="same_kind", copy=False)
        number = int(indices[0]) // _BLOCK
        # One pass finds the offsets and what lies elsewhere: a block begins at a multiple of a power of two, so xor
        # subtracts its start from an index inside of it and leaves any other at _BLOCK or more, where `take` below
        # raises. The sign is masked, as NumPy would count a negative offset from the end.
        offsets = (indices ^ number * _BLOCK) & _UNSIGNED
        if self._block[0] != number and offsets.max() >= _BLOCK:
            return self._entries(indices)
        try:
            return self._computed(number).take(offsets)
        except IndexError:
            return self._entries(indices)

    def _computed(self, number: int) -> np.ndarray:
        """The entries of one block; the last block is kept, since most flows are walked in order."""
        block = self._block
        if block[0] != number:
            start = number * _BLOCK
            self._block = block = number, self._entries(np.arange(start, min(start + _BLOCK, self.size)))
        return block[1]

    def _entries(self, indices: np.ndarray) -> np.ndarray:
        if (index := misplaced(indices, self.size)) is not None:
            raise IndexError(f"an order of {self.size} entries has no number {index}")
        if self.size <= _SMALL:
            key = [int(k) for k in self._keys[:2]]
            return np.random.Generator(np.random.Philox(key=key)).permutation(self.size)[indices]
        values = self._encrypt(indices)
        # Encrypting again what is outside keeps this a permutation of those inside. It ends soon: the network permutes
        # fewer than 2 * size numbers, so more than half of them land inside each time.
        outside = np.flatnonzero(values >= self.size)
        while outside.size:
            values[outside] = self._encrypt(values[outside])
            outside = outside[values[outside] >= self.size]
        return values

    def _encrypt(self, values: np.ndarray) -> np.ndarray:
        """The Feistel network: (high, low) -> (low, high ^ f(low)). Halves, and widths, change places each round."""
        low_bits = self._widths[0]
        high, low = values >> low_bits, values & ((1 << low_bits) - 1)
        if self._tables is None and max(self._widths) <= _TABLED:
            halves = [np.arange(1 << self._widths[number % 2]) for number in range(_ROUNDS)]
            self._tables = [self._round(number, half) for number, half in enumerate(halves)]
        for number in range(_ROUNDS):
            # "clip" is the quickest mode; all entries are known to be within the table
            high ^= self._tables[number].take(low, mode="clip") if self._tables else self._round(number, low)
            high, low = low, high
        return (high << low_bits) | low

    def _round(self, number: int, low: np.ndarray) -> np.ndarray:
        """The function f of a round: as many well mixed bits as the other half has."""
        mixed = _mix(low.view(np.uint64), self._keys[number])
        return (mixed >> np.uint64(64 - self._widths[1 - number % 2])).view(np.int64)


def _counter(index: int, epoch: int, number: int) -> np.ndarray:
    return np.array([0, index & _WORD, epoch & _WORD, number], np.uint64)


def _mix(values: np.ndarray, key: np.uint64) -> np.ndarray:
    """64 well mixed bits of a value and a key (the finalizer of SplitMix64; Steele et al., OOPSLA 2014)."""
    values = values + key
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
