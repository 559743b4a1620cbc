"""The names of variables, layers and operations while ``build_graph`` is traced.

They follow from the order in which things are met in this trace alone, so that every trace, and every process, finds
the same ones: what Keras counts over the whole process is counted anew here.
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

__all__ = ["Names"]


class _Frame:
    """One open scope: the path its variables have, the path its operations have, and whether names recur."""

    def __init__(self, variables: str, operations: str, reuse: bool | str) -> None:
        self.variables, self.operations, self.reuse = variables, operations, reuse


def _join(*parts: str) -> str:
    return "/".join(part for part in parts if part)


class Names:
    """The open scopes of one trace, and the names that have been given in it.

    Args:
        own_layers: The Keras layers that named layers have made: their names are those of the scopes.
        prefix: Put before the names of operations.

    Attributes:
        scopes: The stack of Keras's name scopes.
        layers_seen: The Keras layers that were built or called, and whether no other one was around them.
        layer_paths: The full names of those that are not named layers' own, by identity.
        replaying: While gradients call layers again, names recur and mean the same.
    """

    def __init__(self, own_layers: Iterable[keras.Layer], prefix: str = "") -> None:
        self.prefix = prefix
        self.scopes = KerasScopes(self._entered)
        self.layers_seen: list[tuple[keras.Layer, bool]] = []
        self.own_layers = {id(layer): layer for layer in own_layers}
        self.layer_paths: dict[int, str] = {}
        self.replaying = False
        self._closed: dict[tuple[str, str], str] = {}
        self._layer_names: dict[int, tuple[Any, str]] = {}
        self._frames = [_Frame("", "", False)]
        self._used: set[str] = set()
        self._uses: dict[str, int] = {}
        self._auto: dict[str, int] = {}

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
        """The path of the open scopes, as variables made here will have it."""
        return self._frames[-1].variables

    @property
    def reuse(self) -> bool | str:
        """Whether names recur here: False, True or ``"auto"``."""
        return self._frames[-1].reuse

    @contextlib.contextmanager
    def scope(self, name: str, reuse: bool | str | None = None) -> Iterator[None]:
        """Open a variable scope; see :func:`flowtrain.variable_scope`."""
        above = self._frames[-1]
        reuse = above.reuse if reuse is None else reuse
        operations = _join(above.operations, name)
        if reuse:
            self._forget_automatic_names(_join(above.variables, name))
            operations = self._unique_operations(operations)
        else:
            self._uses.setdefault(operations, 1)
        with self._framed(_Frame(_join(above.variables, name), operations, reuse), name):
            yield

    @contextlib.contextmanager
    def layer_scope(self, name: str) -> Iterator[tuple[str, str]]:
        """Open the scope of one named layer and yield the paths of its variables and of its operations."""
        above = self._frames[-1]
        path = _join(above.variables, name)
        self.claim(path, "layer")
        operations = self._unique_operations(_join(above.operations, name))
        with self._framed(_Frame(path, operations, above.reuse), name):
            yield path, operations

    @contextlib.contextmanager
    def _framed(self, frame: _Frame, name: str) -> Iterator[None]:
        self._frames.append(frame)
        try:
            with contextlib.ExitStack() as stack:
                for part in name.split("/"):
                    stack.enter_context(self.scopes.inside(part))
                stack.enter_context(tf.name_scope(f"{self.prefix}{frame.operations}/"))
                yield
        finally:
            self._frames.pop()

    def _unique_operations(self, operations: str) -> str:
        uses = self._uses.get(operations, 0)
        self._uses[operations] = uses + 1
        return f"{operations}_{uses}" if uses else operations

    def claim(self, path: str, what: str) -> None:
        """Note that a name is used, and refuse it where it must not be used again.

        Raises:
            ModelError: The name is taken and the scope does not reuse, or reuses and there is nothing.
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
        """A name for a layer that was given none: ``dropout``, ``dropout_1``, ..."""
        while True:
            path = self._numbered(_join(self.path, base))
            if self.reuse or path not in self._used:
                return path.rsplit("/", 1)[-1]

    def _forget_automatic_names(self, path: str) -> None:
        for key in [key for key in self._auto if key.startswith(path + "/")]:
            del self._auto[key]

    # -- variables ----------------------------------------------------------------------------------

    def variable_path(self, name: str, owner: keras.Variable | None = None) -> str:
        """The full name of a variable that is made now, one of several alike numbered in order.

        Args:
            name: The last part.
            owner: The Keras variable it is made for. Keras makes the variables of a subclassed model late, when
                the scopes of its layers are closed already: the variable's own path tells what they were.
        """
        path = self.keras_path()
        if owner is not None:
            opened = [scope.name for scope in self.scopes]
            wanted = owner.path.split("/")[:-1]
            if wanted[: len(opened)] == opened:
                for part in wanted[len(opened) :]:
                    path = self._renumbered(path, part)
        return self._numbered(_join(path, name))

    def _renumbered(self, path: str, name: str) -> str:
        """The path of a closed scope, its automatic number counted anew."""
        key = (path, name)
        if key not in self._closed:
            self._closed[key] = self._numbered(_join(path, re.sub(r"_\d+$", "", name)))
        return self._closed[key]

    def keras_path(self) -> str:
        """The path of the open scopes and of the Keras layers that are being built or called in them."""
        path = ""
        for scope in self.scopes:
            if scope.caller is None:
                path = _join(path, scope.name)
            elif id(scope.caller) not in self.own_layers:
                path = _join(path, self.name_below(path, scope.caller))
        return path

    def name_below(self, path: str, caller: keras.Layer) -> str:
        """A Keras layer's name; automatic ones are counted anew, in the order in which layers are met."""
        if id(caller) not in self._layer_names:
            name = str(caller.name)
            if auto_named(caller):
                name = self._numbered(_join(path, re.sub(r"_\d+$", "", name))).rsplit("/", 1)[-1]
            self._layer_names[id(caller)] = (caller, name)
        return self._layer_names[id(caller)][1]

    def known_name(self, caller: keras.Layer) -> str:
        """The full path a layer had when it was first met."""
        return self.layer_paths.get(id(caller), str(caller.name))

    def forget_number(self, path: str) -> None:
        """Let the next variable of this path have exactly this name."""
        self._auto.pop(path, None)

    def _numbered(self, path: str) -> str:
        count = self._auto.get(path, 0)
        self._auto[path] = count + 1
        return f"{path}_{count}" if count else path

    def set_layer_name(self, layer: keras.Layer, name: str) -> None:
        """Let a layer that was made elsewhere be known by this name here."""
        self._layer_names[id(layer)] = (layer, name)
