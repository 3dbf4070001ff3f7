"""A function of a batch as what layers come from: one of the caller's own, or that of an adapter for a framework."""

from __future__ import annotations

import functools
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from homolog.diagnostics import Caution, ExtractionWarning, give, listed
from homolog.extraction.batch_contents import is_items, layout_of, map_leaves
from homolog.extraction.batches import as_numpy
from homolog.extraction.computation_record import record_of
from homolog.extraction.function_results import layers_of
from homolog.extraction.input_checks import check_plain
from homolog.extraction.layer_selection import CALL, Selection, module_of, select_names
from homolog.extraction.layer_values import AdaptedModel
from homolog.extraction.options import Options
from homolog.extraction.sources import Listener, Maker
from homolog.extraction.tensors import is_packed, loaded_torch
from homolog.names import quoted


class FunctionSource:
    """Layers that a function gives for a batch."""

    dtypes: frozenset[str] = frozenset()
    """What the layers themselves say is all that is known."""

    def __init__(self, model: AdaptedModel, function: Any = None) -> None:
        self._model, self._function = model, function
        self.title, self.software, self.quantised = model.title, model.software, model.inexact
        self._listeners: list[Listener] = []
        self._odd = [name for name in model.types if CALL.search(name)]
        """Layers whose names end as those of calls do, and that cannot be told from these."""
        self._types = {name: kind for name, kind in model.types.items() if name not in self._odd}

    @property
    def on_host(self) -> bool:
        """Whether no library computes on anything but the processor."""
        jax, torch = sys.modules.get("jax"), loaded_torch()
        accelerated = jax is not None and jax.default_backend() != "cpu"
        return self._model.on_host and not accelerated and not (torch is not None and torch.cuda.is_initialized())

    def settled(self, options: Options) -> Options:
        """Channels are where the framework has them, and features in the order of PyTorch's; a function says nothing of them."""
        if options.forward is not None and not self._model.forward:
            raise TypeError(
                "forward must be left out for a function and for ONNX, got one: call the model inside the function that is "
                "extracted, homolog.extract(lambda batch: ..., data)."
            )
        if self._function is not None and options.device is not None:
            raise ValueError(
                f"device must be left out for a function, got {quoted(str(options.device))}: the function chooses where it runs."
            )
        known = self._model.channels
        return options.with_channels(options.channels or known, flat_channels_first=known == "last")

    def selection(self, layers: Any) -> Selection:
        """Resolve names and globs, as far as the names are known before a run."""
        for name in [layers] if isinstance(layers, str) else layers if isinstance(layers, Sequence) else ():
            if name not in self._model.types and (reason := self._model.refusal(name)) is not None:
                raise ValueError(reason)
        if self._odd:
            message = (
                f"{listed(self._odd)}: left out, since names that end in # and a number tell calls of one layer apart: rename "
                f"these layers in the model."
            )
            give([Caution(ExtractionWarning, message)])
        return select_names(self._types, layers, self._model.default)

    @contextmanager
    def lent(self, device: Any) -> Iterator[None]:
        """Run without gradients where PyTorch is there; nothing else is known of a function."""
        torch = loaded_torch()
        with nullcontext() if torch is None else torch.no_grad():
            yield

    @contextmanager
    def attached(self, listener: Listener) -> Iterator[None]:
        """Tell a listener of every run."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def received(self, raw: Any, options: Options) -> Any:
        """Return a batch as the function takes it; what follows the inputs of a model, such as labels, does not reach it."""
        content = map_leaves(as_numpy if self._model.numpy else _checked, raw)
        count = self._model.inputs
        if count is None or not isinstance(content, tuple | list) or is_packed(content) or is_items(content):
            return content
        content = content[:count]
        return content[0] if len(content) == 1 else content

    def takes_lists(self, options: Options) -> bool:
        """A function knows what to do with lists of examples."""
        return True

    def placed(self, content: Any, options: Options) -> Any:
        """Leave a batch where it is."""
        return content

    def run(self, content: Any, options: Options) -> None:
        """Call the function once, and tell the listeners each layer as it comes."""
        for name, value in _pairs(self._model.run(content, self._wanted())):
            if name in self._odd:
                continue
            name = CALL.sub("", name)  # listeners count the calls themselves
            maker = Maker(self._types.get(name, ""), whole_numbers=self._function is not None)
            if name in self._model.features:
                maker = maker._replace(features=self._model.features[name])
            for listener in self._listeners:
                listener.heard(name, value, maker)

    def _wanted(self) -> list[str] | None:
        """Return the layers that anybody wants; None where their names are not known."""
        known, selections = self._types, [listener.selection for listener in self._listeners]
        if not known:
            return None
        called = {module_of(pattern) for selection in selections for pattern in selection.required}
        return [name for name in known if name in called or any(one.keep(name) for one in selections)]

    @contextmanager
    def unchanged(self, seed: int) -> Iterator[None]:
        """Let a trial draw the random numbers of a seed, and put the generators back."""
        torch = loaded_torch()
        drawn, drawn_by_numpy = random.getstate(), np.random.get_state()
        with nullcontext() if torch is None else torch.random.fork_rng(devices=[]):
            random.seed(seed)
            np.random.seed(seed)
            if torch is not None:
                torch.manual_seed(seed)
            try:
                yield
            finally:
                random.setstate(drawn)
                np.random.set_state(drawn_by_numpy)

    def digest(self) -> str:
        """Digest structure and weights."""
        return self._model.digest()

    def digest_of_parameters(self) -> str:
        """Digest structure and weights."""
        return self._model.digest()

    def code(self, options: Options) -> dict[str, str]:
        """Record the code of the functions given, and the values that they read."""
        return record_of(self._function, options)


def source_of_function(function: Callable[[Any], Any]) -> FunctionSource:
    """Return a function of the caller's own as what layers come from."""
    inner = function.func if isinstance(function, functools.partial) else function
    name = str(getattr(inner, "__qualname__", type(inner).__name__)).replace(".<locals>", "")
    model = AdaptedModel(
        run=lambda batch, wanted: layers_of(function(batch), _size_of(batch)),
        title=name.rsplit(".", 1)[-1].strip("<>"),
        software={},
        digest=lambda: "none of its own",
        numpy=False,
    )
    return FunctionSource(model, function)


def _size_of(batch: Any) -> int | None:
    layout = layout_of(batch, lone=True)
    return None if layout is None else layout.size


def _pairs(found: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> Iterable[tuple[str, Any]]:
    return found.items() if isinstance(found, Mapping) else found


def _checked(leaf: Any) -> Any:
    """Return a part of a batch as it came, if its numbers are all there."""
    check_plain(leaf, "a batch")
    return leaf
