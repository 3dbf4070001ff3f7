"""Hearing what the parts of a model put out, where a framework has no hooks: their classes are listened to while it runs."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

OUTPUT = "output"
"""What the model itself is called, as a layer."""

_LISTENING = threading.RLock()
"""Held while classes are changed: another thread would put back what it found."""


class Call(NamedTuple):
    """One call of a part of a model."""

    layer: str
    """Its name, such as "dense", and "dense#2" where the part is called again."""
    output: Any
    """A tensor that it put out, which tells whether a block only hands it on."""
    taken: Any
    """What was made of the output at once, before anything could change it."""
    inside: int
    """How many calls before this one were made inside it."""


class HeardCalls:
    """The calls of the parts of a model, in the order in which they ended."""

    def __init__(self, take: Callable[[Any], tuple[Any, Any] | None]) -> None:
        self.calls: list[Call] = []
        self._take = take
        self._counts: dict[str, int] = {}
        self._open: list[Any] = []
        self._thread = threading.get_ident()

    def hear(self, name: str | None, part: Any, call: Callable[[], Any]) -> Any:
        """Run one call of a part, and keep its output if the part has a name."""
        # A class that calls the method of its parent class runs once.
        if name is None or threading.get_ident() != self._thread or (self._open and self._open[-1] is part):
            return call()
        before = len(self.calls)
        self._open.append(part)
        try:
            output = call()
        finally:
            self._open.pop()
        found = self._take(output)
        if found is not None:
            count = self._counts[name] = self._counts.get(name, 0) + 1
            self.calls.append(Call(numbered(name, count), *found, inside=len(self.calls) - before))
        return output

    def repeated(self) -> set[str]:
        """Return the blocks that only hand on what a layer inside them put out, whenever they are called."""
        own, names = set(), set()
        for place, call in enumerate(self.calls):
            name = call.layer.split("#")[0]
            names.add(name)
            if all(before.output is not call.output for before in self.calls[place - call.inside : place]):
                own.add(name)
        return names - own


@contextmanager
def calls_of(parts: Mapping[str, Any], take: Callable[[Any], tuple[Any, Any] | None]) -> Iterator[HeardCalls]:
    """Hear the calls of parts, given as name → object; put their classes back whatever happens.

    `take` makes of an output a tensor that it is known by, and what is kept of it; None where it is no output of a layer.
    """
    found = HeardCalls(take)
    names = {id(part): name for name, part in parts.items()}
    own: list[tuple[type, Any]] = []
    with _LISTENING:
        try:
            for kind in dict.fromkeys(type(part) for part in parts.values()):
                before = vars(kind).get("__call__")
                own.append((kind, before))
                type.__setattr__(kind, "__call__", _listening(kind, before, names, found))
            yield found
        finally:
            for kind, before in reversed(own):
                if before is None:
                    type.__delattr__(kind, "__call__")
                else:
                    type.__setattr__(kind, "__call__", before)


_COMPILED = ("PjitFunction", "_JitWrapper", "JitWrapped")
"""What `jax.jit`, `equinox.filter_jit` and `nnx.jit` make of a method: it says nothing of what runs in it."""


def _listening(kind: Any, before: Any, names: Mapping[int, str], found: HeardCalls) -> Callable[..., Any]:
    """Return the `__call__` of a class, listened to; `before` is None where it is that of a parent class."""
    compiled = inspect.getattr_static(kind, "__call__", None)
    plain = compiled.__wrapped__ if type(compiled).__name__ in _COMPILED else before

    @functools.wraps(kind.__call__ if plain is before else plain)  # whose arguments are asked for
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
        method = super(kind, self).__call__ if plain is None else plain.__get__(self, type(self))
        return found.hear(names.get(id(self)), self, lambda: method(*args, **kwargs))

    return __call__


def numbered(name: str, count: int) -> str:
    """Name a call of a part.

    >>> numbered("dense", 1), numbered("dense", 2)
    ('dense', 'dense#2')
    """
    return name if count == 1 else f"{name}#{count}"


def base_names(wanted: Iterable[str]) -> set[str]:
    """Return the parts of which some call is wanted.

    >>> base_names(["dense#2"])
    {'dense'}
    """
    return {layer.split("#")[0] for layer in wanted}
