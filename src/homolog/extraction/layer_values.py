"""What a function, or the adapter of a framework, gives as a layer, and the form in which an adapter hands over a model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from homolog.arrays import described

KINDS = ("features", "tokens", "maps")


@dataclass(frozen=True)
class Layer:
    """The output of a layer, where a function that is extracted says more of it than its numbers.

    Parameters
    ----------
    array
        array of any library; its first axis is the examples.
    mask
        (examples, positions), true where a position counts; None where all do, or a mask of the batch says it.
    kind
        "features": all axes but the first are features. "tokens": (examples, positions, features). "maps": (examples, channels,
        height, width), or with the channels last as `channels=` says. None: three axes are tokens, four are maps.

    Raises
    ------
    ValueError
        If the kind is another word.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> def run(batch):
    ...     hidden = np.maximum(batch, 0)
    ...     return {"hidden": hl.Layer(hidden, kind="features"), "output": hidden.sum(2)}
    >>> hl.extract(run, np.ones((4, 3, 5)))
    <Activations of 2 layers over 4 rows: hidden: 15, output: 3>
    """

    array: Any
    mask: Any = None
    kind: Literal["features", "tokens", "maps"] | None = None

    def __post_init__(self) -> None:
        if self.kind is not None and self.kind not in KINDS:
            got = repr(self.kind) if isinstance(self.kind, str) else described(self.kind)
            raise ValueError(f"the kind of a layer must be one of {', '.join(KINDS)}, or None, got {got}.")


@dataclass(frozen=True)
class AdaptedModel:
    """A model of some framework as a function of a batch. Every adapter makes one of these, and nothing else is asked of it."""

    run: Callable[[Any, Collection[str] | None], Mapping[str, Any] | Iterable[tuple[str, Any]]]
    """run(batch, wanted) → the layers, in order of execution: name → array or `Layer`, as a mapping or one pair after the other
    (each is reduced and let go before the next is asked for). `wanted` are the names to give; None for `default`. More may come:
    they are dropped."""
    title: str
    """What results call the model: its class, or the name of its file."""
    software: Mapping[str, str]
    """Library → version, for the provenance."""
    digest: Callable[[], str]
    """Digest of structure and weights, so that a store is continued with the same model only."""
    types: Mapping[str, str] = field(default_factory=dict)
    """Layer → its type, such as "Conv", in order, of all layers that can be asked for; nothing where only a run tells."""
    refusal: Callable[[str], str | None] = lambda name: None
    """Says why something of the model that is asked for by this name is no layer; None where there is nothing of the name."""
    default: Collection[str] | None = None
    """The layers taken where nobody names any; None for all."""
    channels: Literal["first", "last"] | None = None
    """Where maps have their channels; None where the caller's `channels` says it."""
    features: Mapping[str, int | None] = field(default_factory=dict)
    """Layer → the axis that holds its features where it has three axes or four: 1 or -1, or None where nobody can tell and a mean
    over positions is refused. Layers that are not in it are as `channels` and their axes say."""
    inputs: int | None = None
    """How many inputs it has, where a batch may be a tuple of them; what follows, such as labels, does not reach it."""
    forward: bool = False
    """Whether it runs `forward(model, batch)` where the caller gives one, and listens to the model in it."""
    numpy: bool = True
    """Whether the batch is given with arrays of NumPy's in it, whatever it came as; else as it came."""
    inexact: bool = False
    """Whether rounding may depend on the other examples of a batch, as in models that are quantised as they run."""
    on_host: bool = True
    """Whether the processor computes, which rounds no products."""
