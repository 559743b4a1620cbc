"""Names of variables, layers and operations while ``build_graph`` is traced.

Names depend only on the order of calls in the trace, so that every trace and every process finds the same ones. Numbers
that Keras counts over the whole process (``dense_7``) are counted anew in each trace.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import tensorflow as tf

from flowtrain.utils.errors import ModelError, closest

from .internals import KerasScopes, auto_named, clear_losses

__all__ = ["Names", "numbered"]


class _Frame:
    """One open scope: the path of variables made in it, the path of its operations, and its ``reuse``."""

    def __init__(self, variables: str, operations: str, reuse: bool | str) -> None:
        self.variables, self.operations, self.reuse = variables, operations, reuse


def numbered(name: str, last: dict[str, int]) -> str:
    """Number names that come again: ``dense``, ``dense_1``, ``dense_2``, ...

    Args:
        name: The name that is wanted.
        last: The last number that each name has got; kept by the caller, changed here.
    """
    number = last[name] = last.get(name, -1) + 1
    return f"{name}_{number}" if number else name


def _join(*parts: str) -> str:
    return "/".join(part for part in parts if part)


class Names:
    """The open scopes of one trace, and the names given in it so far.

    Args:
        own_layers: The Keras layers that named layers (``Conv2D("conv1", ...)``) made. They add nothing to a path: the
            named layer's scope stands for them.
        prefix: Prefix of the names of operations.

    Attributes:
        scopes: The stack of Keras's name scopes.
        layers_seen: (layer, whether no other layer was around it) of each Keras layer that was built or called.
        layer_paths: Identity of a Keras layer -> its full name, for layers that no named layer made.
        replaying: True while gradients call layers again (``tf.recompute_grad``): their names recur and mean the same.
    """

    def __init__(self, own_layers: Iterable[keras.Layer], prefix: str = "") -> None:
        self.prefix = prefix
        self.scopes = KerasScopes(self._entered)
        self.layers_seen: list[tuple[keras.Layer, bool]] = []
        self.own_layers = {id(layer): layer for layer in own_layers}
        self.layer_paths: dict[int, str] = {}
        self.replaying = False
        self._closed: dict[tuple[str, str], str] = {}  # (path above, Keras's name) of a layer's scope -> full path
        # By identity, with the layer itself: while it is held, its id cannot be given to another one.
        self._layer_names: dict[int, tuple[Any, str]] = {}
        self._frames = [_Frame("", "", False)]
        self._used: set[str] = set()  # names of layers and variables that were claimed
        self._opened: dict[str, int] = {}  # path of operations -> its last number, see `numbered`
        self._auto: dict[str, int] = {}  # path of a variable or unnamed layer -> its last number

    def _entered(self, layer: keras.Layer, outermost: bool) -> None:
        clear_losses(layer)
        if id(layer) not in self.own_layers:
            path = self.keras_path()
            self.layer_paths[id(layer)] = _join(path, self.name_below(path, layer))
            self._closed[path, layer.name] = self.layer_paths[id(layer)]
        self.layers_seen.append((layer, outermost))

    # -- scopes -------------------------------------------------------------------------------------

    @property
    def path(self) -> str:
        """The path of the open scopes: the prefix of variables made here."""
        return self._frames[-1].variables

    def full_name(self, name: str) -> str:
        """The full name of a layer or variable that is called ``name`` in the open scopes."""
        return _join(self.path, name)

    @property
    def reuse(self) -> bool | str:
        """The ``reuse`` of the innermost scope: False, True or ``"auto"``; see :func:`flowtrain.variable_scope`."""
        return self._frames[-1].reuse

    @contextlib.contextmanager
    def scope(self, name: str, reuse: bool | str | None = None) -> Iterator[None]:
        """Open a variable scope; see :func:`flowtrain.variable_scope`."""
        above = self._frames[-1]
        reuse = above.reuse if reuse is None else reuse
        operations = _join(above.operations, name)
        if reuse:
            # Numbering starts again, so that the n-th unnamed layer or variable inside is the n-th of the first time.
            # Operations cannot be shared: they are made again, under a path with a number.
            self._forget_automatic_names(_join(above.variables, name))
            operations = numbered(operations, self._opened)
        else:  # the path counts as opened, so that a layer or a reusing scope of this name gets a number
            self._opened.setdefault(operations, 0)
        with self._framed(_Frame(_join(above.variables, name), operations, reuse), name):
            yield

    @contextlib.contextmanager
    def layer_scope(self, name: str) -> Iterator[tuple[str, str]]:
        """Open the scope of one call of a named layer.

        Yields:
            The path of its variables, and the path of its operations, which is numbered when the layer is called again.
        """
        above = self._frames[-1]
        path = _join(above.variables, name)
        self.claim(path, "layer")
        operations = numbered(_join(above.operations, name), self._opened)
        with self._framed(_Frame(path, operations, above.reuse), name):
            yield path, operations

    @contextlib.contextmanager
    def _framed(self, frame: _Frame, name: str) -> Iterator[None]:
        self._frames.append(frame)
        try:
            # The slash at its end makes TensorFlow take the path as it is, instead of below the open scopes and with a
            # number of its own.
            with self.scopes.inside(*name.split("/")), tf.name_scope(f"{self.prefix}{frame.operations}/"):
                yield
        finally:
            self._frames.pop()

    def claim(self, path: str, what: str) -> None:
        """Mark a name of a layer or variable as used, as the scope's ``reuse`` allows.

        Raises:
            ModelError: The name is used already and the scope does not reuse names; or it does and there is none.
        """
        if self.replaying:
            return
        again = path in self._used
        if again and not self.reuse:
            raise ModelError(
                f"the {what} name {path!r} is used twice in build_graph. Give the second one another name, or share "
                f"its variables by calling it inside variable_scope(..., reuse=True)."
            )
        if self.reuse is True and not again:
            raise ModelError(
                f"variable_scope(reuse=True): there is no {what} named {path!r} to reuse yet. "
                f'{closest(path, sorted(self._used))} reuse="auto" makes it the first time.'
            )
        self._used.add(path)

    def automatic_name(self, base: str) -> str:
        """Make up a name for an unnamed layer: ``dropout``, ``dropout_1``, ..."""
        while True:  # a name that the user has given to another layer is skipped
            path = numbered(self.full_name(base), self._auto)
            if self.reuse or path not in self._used:
                return path.rsplit("/", 1)[-1]

    def _forget_automatic_names(self, path: str) -> None:
        for key in [key for key in self._auto if key.startswith(path + "/")]:
            del self._auto[key]

    # -- variables ----------------------------------------------------------------------------------

    def variable_path(self, name: str, owner: keras.Variable | None = None) -> str:
        """The full name of a variable that is being made; several of one name are numbered in order.

        Args:
            name: The last part of the name.
            owner: The Keras variable that it is made for. Keras makes the variables of a subclassed model late, when
                the scopes of its layers are closed already: the Keras variable's own path tells which they were.
        """
        path = self.keras_path()
        if owner is not None:
            opened = [scope.name for scope in self.scopes]
            wanted = owner.path.split("/")[:-1]  # scopes that were open when Keras made the variable, outermost first
            if wanted[: len(opened)] == opened:
                for part in wanted[len(opened) :]:
                    path = self._renumbered(path, part)
        return numbered(_join(path, name), self._auto)

    def _renumbered(self, path: str, name: str) -> str:
        """The full path of a layer's closed scope, with Keras's number in its name counted anew."""
        key = (path, name)
        if key not in self._closed:
            self._closed[key] = numbered(_join(path, re.sub(r"_\d+$", "", name)), self._auto)
        return self._closed[key]

    def keras_path(self) -> str:
        """The path of the open scopes and of the Keras layers that are being built or called inside them."""
        path = ""
        for scope in self.scopes:
            if scope.caller is None:
                path = _join(path, scope.name)
            elif id(scope.caller) not in self.own_layers:
                path = _join(path, self.name_below(path, scope.caller))
        return path

    def name_below(self, path: str, caller: keras.Layer) -> str:
        """A Keras layer's name below a path; a name that Keras made up is numbered in the order of first use."""
        if id(caller) not in self._layer_names:
            name = str(caller.name)
            if auto_named(caller):
                name = numbered(_join(path, re.sub(r"_\d+$", "", name)), self._auto).rsplit("/", 1)[-1]
            self._layer_names[id(caller)] = (caller, name)
        return self._layer_names[id(caller)][1]

    def known_name(self, caller: keras.Layer) -> str:
        """The full path of a Keras layer where it was first built or called in this trace."""
        return self.layer_paths.get(id(caller), str(caller.name))

    def forget_number(self, path: str) -> None:
        """Restart the numbering of a path: the next variable gets exactly this name."""
        self._auto.pop(path, None)

    def set_layer_name(self, layer: keras.Layer, name: str) -> None:
        """Name a Keras layer that was made outside of ``build_graph``."""
        self._layer_names[id(layer)] = (layer, name)
