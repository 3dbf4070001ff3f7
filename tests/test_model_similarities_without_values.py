"""Similarities of models where layers, or permutations, have no value."""

from __future__ import annotations

import numpy as np
import pytest

import homolog as hl

pytestmark = [
    pytest.mark.filterwarnings(f"ignore::homolog.{name}") for name in ("ConstantLayerWarning", "FewPermutationsWarning")
]


@pytest.fixture
def sometimes():
    """A measure that has no value where first columns are unlike, as under permutation."""

    @hl.register(kind="similarity", range=(0, 1), symmetric=True, formula="f", reference="an example")
    def sometimes_nothing(x, y, /):
        """Have no value for most orders."""
        r = np.corrcoef(x[:, 0], y[:, 0])[0, 1]
        return float("nan") if r < 0.1 else r

    yield "sometimes_nothing"
    hl.unregister("sometimes_nothing")


def models(rng, names, layers=1, n=30):
    t = rng.normal(size=(n, 3))
    return {name: {f"l{k}": t + 0.5 * rng.normal(size=(n, 3)) for k in range(layers)} for name in names}


@pytest.mark.filterwarnings("ignore::homolog.UndefinedValueWarning")
@pytest.mark.parametrize("names", ["AB", "ABC"])
def test_chance_without_an_end_gives_no_score_above_0(sometimes, names, rng):
    result = hl.compare(models(rng, names), measures=sometimes, calibrate=True, n_permutations=39)
    found = hl.model_similarity(result)
    apart = ~np.eye(len(names), dtype=bool)
    assert np.isposinf(found[f"{sometimes}_threshold"].values[apart]).all()
    np.testing.assert_array_equal(found[f"{sometimes}_calibrated"].values[apart], 0)
    # As of the single layers that these models have.
    np.testing.assert_array_equal(found[f"{sometimes}_calibrated"], result[f"{sometimes}_calibrated"])
    assert "always 0.00" in str(hl.summary(found)) or "score is 0.00" in str(hl.summary(found))


def without_value(given):
    with pytest.warns(hl.UndefinedValueWarning) as told:
        hl.model_similarity(hl.compare(given, measures="cka"))
    (message,) = {str(each.message) for each in told if "no value of cka" in str(each.message)}
    return message.partition(": no value")[0]


def test_only_the_layer_that_is_the_reason_is_named(rng):
    dead = np.ones((30, 3))
    given = models(rng, "AB", layers=2)
    assert without_value(given | {"K": {"dead": dead}}) == "K: dead"
    assert without_value(given | {"K": {"dead": dead}, "L": {"gone": dead}}) == "K: dead, L: gone"
    assert without_value(given | {"K": {"dead": dead, "l0": given["A"]["l0"] + rng.normal(size=(30, 3))}}) == "K: dead"
    assert without_value({"A": given["A"], "K": {"l0": given["B"]["l0"], "dead": dead}}) == "K: dead"
