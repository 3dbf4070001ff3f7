"""How often each module runs for a batch: what does not run, or not as often in every batch, is no layer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from homolog.activations import glob_expression, unknown_layer, unknown_layers
from homolog.diagnostics import listed
from homolog.extraction.layer_selection import Selection, module_of
from homolog.extraction.sources import Maker

Listener = Callable[[str, Any, Maker], None]


class LayerCalls:
    """Counts the calls of modules, and gives outputs to whoever listens."""

    def __init__(self, selection: Selection) -> None:
        self.selection = selection
        self.counted: dict[str, int] = {}
        """Module → how often it ran for the batch."""
        self.tried: dict[str, int] = {}
        """Module → how often it ran when outputs were last listened to."""
        self.listener: Listener | None = None
        self._expected: dict[str, int] | None = None

    def next_of(self, name: str) -> str:
        """Count a call, and return what its output is called."""
        self.counted[name] = calls = self.counted.get(name, 0) + 1
        return name if calls == 1 else f"{name}#{calls}"

    @contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        """Give outputs to a function, and count their calls apart."""
        counted, self.counted, self.listener = self.counted, {}, listener
        try:
            yield
        finally:
            self.tried = self.counted
            self.counted, self.listener = counted, None

    def check(self, rows: Collection[str], known: Collection[str], number: int) -> dict[str, str]:
        """Return the layers that do not run as often as in the first batch, and why they are left out; or refuse them.

        Parameters
        ----------
        rows
            layers of which there are rows of this batch.
        known
            layers of which there are rows of the batches before.
        number
            of the batch, from 1.
        """
        self._check_ran(rows)
        if self._expected is None:
            self._expected = dict(self.counted)
            self._check_globs(list(rows if self.selection.modules else self.counted) or ["none"])
        out: dict[str, str] = {}
        for module in self._expected | self.counted:
            first, now = self._expected.get(module, 0), self.counted.get(module, 0)
            if first == now:
                continue
            layers = [name for name in known if module_of(name) == module]
            out |= {name: f"ran {_times(first)} before, {_times(now)} in batch {number}" for name in layers}
            named = any(module_of(pattern) == module for pattern in self.selection.required)
            if named or (layers and not set(rows) - set(out)):
                raise ValueError(
                    f"layer {module!r} must run as often in every batch ({first} times in the first), got {now} times in "
                    f"batch {number}: text generation does this, so run one forward per batch, or pass forward."
                )
        return out

    def _check_ran(self, rows: Collection[str]) -> None:
        """Raise for a name that did not run."""
        selection = self.selection
        missing = sorted(name for name in selection.required if name not in self.counted and name not in rows)
        if not missing:
            return
        ran = list(rows if selection.modules else self.counted) or ["none"]
        module = selection.modules.get(missing[0])
        if module is not None and any(module.children()):
            raise KeyError(
                f"layer {missing[0]!r} did not run in the forward: it only holds others; ask for those, "
                f"{missing[0] + '.**'!r}."
            )
        known = f"layer {missing[0]!r} did not run in the forward; " if module is not None else ""
        raise KeyError(known + unknown_layers(missing[:1] if selection.modules else missing, ran))

    def _check_globs(self, ran: list[str]) -> None:
        """Raise for a glob none of whose layers ran."""
        for pattern, names in self.selection.globs.items():
            if any(name in self.counted for name in names):
                continue
            if names:
                raise KeyError(
                    f"{pattern!r} matches only layers that did not run in the forward ({listed(names)}); "
                    + unknown_layer(pattern, ran)
                )
            if not any(glob_expression(pattern).fullmatch(name) for name in self.counted):
                raise KeyError(unknown_layers([pattern], list(self.counted)))

    def unused(self) -> dict[str, str]:
        """Return layers that nobody named, that did not run, and whose weights belong to no layer that did; and why."""
        if not self.selection.default or not self.selection.modules:
            return {}
        ran = [self.selection.modules[name] for name in self.counted]
        used = {id(weight) for module in ran for weight in module.parameters()}
        return {
            name: "did not run"
            for name, module in self.selection.modules.items()
            if name not in self.counted and any(id(weight) not in used for weight in module.parameters())
        }


def _times(count: int) -> str:
    return "1 time" if count == 1 else f"{count} times"
