"""What layers come from: a model of PyTorch, a function, the model of another framework. The rest of this room knows no more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple, Protocol

from homolog.extraction.layer_selection import Selection
from homolog.extraction.options import Options


class Maker(NamedTuple):
    """What puts out a layer: a module, an operation, a function."""

    type: str = ""
    """Its class, such as "Conv2d"."""
    sizes: Callable[[], set[int]] = set
    """Gives the sizes of its weights, for which the axis of the examples could be mistaken."""
    check_channels: Callable[..., None] | None = None
    """check(name, output, rule, channels, known) raises where a reduction would take another axis for that of the features."""
    features: int | Literal["as usual"] | None = "as usual"
    """The axis that holds the features of three axes or four; None where nobody can tell."""
    whole_numbers: bool = False
    """Whether whole numbers are taken as they are floating ones."""


class Listener(Protocol):
    """Something that is told what layers put out, as a recorder is."""

    selection: Selection
    layouts: dict[tuple[int, ...], str]
    """Shape → where outputs of this shape have their features, as a layer of the batch has shown: "first" or "last"."""

    def heard(self, name: str, output: Any, maker: Maker) -> None:
        """Take the output of a layer."""


class Source(Protocol):
    """Something that is run on batches and says what its layers put out."""

    @property
    def title(self) -> str:
        """What results call it."""

    @property
    def software(self) -> Mapping[str, str]:
        """Library → version, for the provenance."""

    @property
    def dtypes(self) -> frozenset[str]:
        """The types of its weights."""

    @property
    def quantised(self) -> bool:
        """Whether it may round by the largest value of a batch."""

    @property
    def on_host(self) -> bool:
        """Whether the processor computes, which rounds no products."""

    def settled(self, options: Options) -> Options:
        """Return the options with what this kind of model settles by itself, such as where the channels are."""

    def selection(self, layers: Any) -> Selection:
        """Resolve names and globs."""

    def lent(self, device: Any) -> AbstractContextManager[None]:
        """Prepare the model for runs, and give it back as it was."""

    def attached(self, listener: Listener) -> AbstractContextManager[None]:
        """Tell a listener of every run."""

    def received(self, raw: Any, options: Options) -> Any:
        """Return what of a batch reaches the model, in a form whose examples can be counted."""

    def takes_lists(self, options: Options) -> bool:
        """Say whether it is given lists of examples as they are."""

    def placed(self, content: Any, options: Options) -> Any:
        """Return it where the model is, in the types that it takes."""

    def run(self, content: Any, options: Options) -> None:
        """Run the model once; the listeners hear it."""

    def unchanged(self, seed: int) -> AbstractContextManager[None]:
        """Put back whatever a trial changes; it draws the random numbers of a seed."""

    def digest(self) -> str:
        """Digest structure and weights, for a reader."""

    def digest_of_parameters(self) -> str:
        """Digest what must be the same for a store to be continued; without what a run may change."""

    def code(self, options: Options) -> dict[str, str]:
        """Record the code of the model and of the functions given, and the values that they read."""
