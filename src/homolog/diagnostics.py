"""The warnings homolog gives: a number exists, but a reader needs a word with it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

from homolog.names import printable, shown


class HomologWarning(UserWarning):
    """Parent of every warning homolog gives, so that one filter reaches them all."""


class ConstantLayerWarning(HomologWarning):
    """A layer gives the same output for every example: no measure is defined, and its values are NaN."""


class DeadUnitWarning(HomologWarning):
    """Some units of a layer never vary: they correlate with nothing, and count as 0."""


class SaturationWarning(HomologWarning):
    """There are so many features for so few examples that canonical correlations are 1 whatever the data."""


class RankWarning(HomologWarning):
    """The rank rule left out directions of a layer that are more than rounding."""


class NullLevelWarning(HomologWarning):
    """Independent representations of these sizes would already have a high value."""


class UndefinedValueWarning(HomologWarning):
    """A measure is 0/0 for these data, although neither layer is constant."""


class NothingLeftWarning(UndefinedValueWarning):
    """Nothing is left of a layer to compare, although it varies."""


class SketchNoiseWarning(UndefinedValueWarning):
    """Sketches of a layer are too narrow to tell anything of it."""


class TiesWarning(HomologWarning):
    """Many examples are equally near, so that their order in the data decides which are the nearest."""


class NoDirectionWarning(HomologWarning):
    """Some examples are zero, or equal in all features: they have no cosine, or correlation, with any other."""


class OrderFreeWarning(HomologWarning):
    """A measure does not depend on the order of the examples, so that permutations cannot test it."""


class MissingInputsWarning(HomologWarning):
    """No inputs were given, although a measure removes what layers owe to their inputs."""


class FewPermutationsWarning(HomologWarning):
    """With so few permutations for so many pairs, no adjusted p-value can be small."""


class BiasWarning(HomologWarning):
    """Bias moves a value further than chance does: do not trust the value, and trust its interval less than others."""


class GradientWarning(HomologWarning):
    """A measure has a corner or a jump at these data: there is a value but no derivative, and the gradient is NaN."""


class SkippedPairWarning(HomologWarning):
    """Networks without a layer of the same name were left out of a count over pairs of networks."""


class FewModelsWarning(HomologWarning):
    """The networks are too few, or not told apart, for standard errors or a test over networks, which are NaN."""


class AsymmetryWarning(HomologWarning):
    """Similarities of models differ between the two directions: the mean of both was taken."""


class DistortedMapWarning(HomologWarning):
    """A map of models shows their distances badly."""


class UnknownPairingWarning(HomologWarning):
    """Nothing shows that the rows of two models are the same examples in the same order, although both say who theirs are."""


class ExtractionWarning(HomologWarning):
    """Something in the model could not be taken as a layer, and was left out."""


class LeftOutWarning(HomologWarning):
    """Part of a table or a file, or rows that not all sides have, was left out; or a column was taken that may be no feature."""


class EqualLayersWarning(HomologWarning):
    """Different models have layers that are equal, as their input is, which makes the models alike."""


class DenseWarning(HomologWarning):
    """A sparse matrix was made dense: it takes far more memory than it did."""


@dataclass(frozen=True)
class Caution:
    """One warning before it is given: its category and its sentence."""

    category: type[HomologWarning]
    message: str
    of_ranks: bool = False
    """Whether it speaks of values that ranks force, which concerns some measures of a family alone."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", printable(self.message))


def listed(names: Iterable[str], most: int = 5) -> str:
    """Join names for a sentence, at most a few of them.

    >>> listed(["conv1", "conv2"])
    'conv1, conv2'
    >>> listed("abcdefg", most=3)
    'a, b, c and 4 more'
    """
    names = list(names)
    first = ", ".join(map(shown, names[:most]))
    return first if len(names) <= most else f"{first} and {len(names) - most} more"


def percent(share: float) -> str:
    """Write a share; one that is not the whole never as 100 %.

    >>> percent(0.9997), percent(0.83), percent(0.034), percent(0.0004), percent(1)
    ('over 99.9 %', '83 %', '3.4 %', '0.04 %', '100 %')
    """
    if 0.999 < share < 1:
        return "over 99.9 %"
    digits = ".2g" if share < 0.1 else ".1f" if 0.99 <= share < 1 else ".0f"
    return f"{100 * share:{digits}} %"


def explain_nan(cautions: Iterable[Caution]) -> bool:
    """Say whether a reader has been told why values are NaN."""
    return any(
        issubclass(caution.category, ConstantLayerWarning | NothingLeftWarning | SketchNoiseWarning)
        for caution in cautions
    )


def give(cautions: Iterable[Caution]) -> None:
    """Give each warning, attributed to the first caller outside this package."""
    cautions = list(cautions)
    if not cautions:
        return
    package = __name__.partition(".")[0]
    frame, depth = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        frame, depth = frame.f_back, depth + 1
    for caution in cautions:
        warnings.warn(caution.message, caution.category, stacklevel=depth)
