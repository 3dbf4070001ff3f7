"""Every rule of a summary of one model with itself, on a result made to show it and on one made not to."""

from __future__ import annotations

import numpy as np
from made_results import made
from made_results import sentence_of as sentence

import homolog as hl

SURE = 1e-4


def of_itself(values, p=SURE, **options):
    return made(values, p, same_model=np.int32(1), model_b="base", **options)


def chain(steps):
    """Likeness that falls with the sum of the steps between two layers."""
    at = np.concatenate([[0], np.cumsum(steps)])
    return 1 - np.abs(at[:, None] - at[None, :])


def test_neighbours_that_are_nearly_equal_and_the_largest_change():
    found = hl.summary(of_itself(chain([0.01, 0.3, 0.015, 0.01, 0.012])))
    assert "compared with each other" in found.sentences[0]
    told = sentence(of_itself(chain([0.01, 0.3, 0.015, 0.01, 0.012])), "neighbouring layers are nearly equal")
    assert told.startswith(
        "4 of 5 pairs of neighbouring layers are nearly equal (0.98 or more): l0 and l1, l2 and l3, l3 and l4"
    )
    assert "the largest change between neighbours is from l1 to l2 (0.70)" in told
    assert sentence(
        of_itself(chain([0.01, 0.3, 0.015, 0.01, 0.012])), "is l2 to l5: each two of these 4 have a likeness of 0.96"
    )


def test_a_chain_of_small_steps_is_no_block():
    result = of_itself(chain([0.03] * 8))
    assert sentence(result, "0 of 8 pairs of neighbouring layers are nearly equal")
    assert not sentence(of_itself(chain([0.06] * 8)), "The longest run")


def test_a_high_level_is_no_redundancy():
    result = of_itself(chain([0.005] * 5), None, level=0.9, measure="cka")
    assert sentence(result, "0 of 5 pairs of neighbouring layers are nearly equal")
    assert not sentence(result, "The longest run")
