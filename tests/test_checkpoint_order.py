"""Checkpoints whose names tell steps that are no moments of one training, and what they may be called."""

from __future__ import annotations

import pytest
from small_checkpoints import weights

import homolog as hl
from homolog.trajectories.checkpoints import checkpoints_of


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["stage1_step100", "stage1_step200", "stage2_step50"], "begin anew in each stage"),
        (["run_1/step_100", "run_2/step_50"], "begin anew in each run"),
        (["step_10.pt", "step_10.safetensors"], "step 10 is there twice"),
        (["step_1000_ema0.99", "step_1000_ema0.999"], "step 1000 is there twice"),
    ],
)
def test_steps_that_do_not_rise_with_another_number_are_places_under_a_warning(names, why):
    with pytest.warns(hl.ExtractionWarning, match=f"{why}.*numbered 0, 1, 2 … in this order: {', '.join(names)};"):
        found = checkpoints_of(dict.fromkeys(names, 0))
    assert [(one.label, one.step) for one in found] == list(zip(names, range(len(names)), strict=False))


@pytest.mark.parametrize("label", ["", " ", "a\ud800", None])
def test_labels_are_text_as_keys_of_a_mapping_are(label):
    with pytest.raises(TypeError, match="must be labelled by text or a number"):
        checkpoints_of([weights(0), weights(1)], steps=[0, 1], labels=[label, "x"])
