"""Masks and lengths under other names, shapes and numbers: honoured, asked about or refused, never overlooked."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import homolog as hl

LENGTHS = torch.tensor([6, 3, 5, 2, 4])
KEEP = torch.arange(6)[None] < LENGTHS[:, None]
ADDED = torch.zeros(5, 6).masked_fill(~KEEP, -1e9)


class Takes(nn.Module):
    """One layer over positions; the rest of the batch is ignored."""

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(4, 3)

    def forward(self, x, **others):
        return self.line(x)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def features(rows=5, places=6):
    return torch.randn(rows, places, 4)


def expected(model, x, keep=KEEP):
    kept = keep[:, :, None]
    return ((model.line(x).detach() * kept).sum(1) / kept.sum(1)).numpy()


def extracted(model, batch, **options):
    return hl.extract(model, [batch], layers="line", reduce="mean", **options)["line"]


MASKS = {
    "src_mask": KEEP,
    "tgt_mask": KEEP.long(),
    "attn_mask": ADDED,
    "causal_mask": KEEP[:, torch.tensor([0, 2, 1, 3, 5, 4])],  # with holes
    "mask": KEEP[:, :, None],
    "kept": KEEP[:, None],
    "padding_mask": KEEP[:, None, None].float(),
    "masks": KEEP[:, torch.tensor([0, 2, 1, 3, 5, 4])],
    "bias": ADDED,
}


@pytest.mark.parametrize("name", MASKS)
def test_what_is_a_mask_by_its_shape_is_asked_about_and_the_remedy_helps(name):
    model, x = Takes(), features()
    batch = {"x": x, name: MASKS[name]}
    with pytest.raises(
        ValueError, match=f"'line' has as many positions as '{name}', which could mark padding"
    ) as caught:
        extracted(model, batch)
    remedy = re.search("mask=(lambda batch: .*?) if", str(caught.value))[1]
    keep = MASKS[name] == 0 if MASKS[name] is ADDED else MASKS[name].reshape(5, 6) != 0
    np.testing.assert_allclose(extracted(model, batch, mask=eval(remedy)), expected(model, x, keep), atol=1e-6)
    whole = expected(model, x, torch.ones(5, 6))
    np.testing.assert_allclose(extracted(model, batch, mask={"**": None}), whole, atol=1e-6)


def test_masks_without_names_and_masks_of_pairs_that_differ_by_example_are_asked_about():
    with pytest.raises(
        ValueError, match=r"a tensor of the batch, .* mask=lambda batch: batch\[1\] == 0 if it is added"
    ):
        extracted(Takes(), (features(), ADDED), forward=lambda m, b: m(b[0]))
    with pytest.raises(ValueError, match=r"'valid', which could mark padding: pass mask=function\(batch\)"):
        extracted(Takes(), {"x": features(), "valid": torch.where(KEEP, 1, -1)})
    for pairs in (
        KEEP[:, None].expand(5, 6, 6),
        KEEP[:, None, None].expand(5, 2, 6, 6) & torch.ones(6, 6).tril().bool(),
    ):
        with pytest.raises(ValueError, match=r"'attn_mask', which .* pass mask=function\(batch\)"):
            extracted(Takes(), {"x": features(), "attn_mask": pairs})


TRIANGLE = torch.ones(6, 6).tril()
NO_PADDING = {
    "later positions": ("src_mask", TRIANGLE.bool()),
    "later positions, added": ("attn_mask", TRIANGLE.log()),
    "later positions by head": ("src_mask", TRIANGLE.expand(10, 6, 6)),
    "probabilities": ("mask_probs", KEEP * 0.5),
    "types": ("token_type_ids", KEEP.long()),
    "nothing left out": ("src_mask", torch.ones(5, 6)),
}


@pytest.mark.parametrize("kind", NO_PADDING)
def test_what_is_no_mask_of_padding_is_not_asked_about(kind):
    model, x = Takes(), features()
    name, values = NO_PADDING[kind]
    whole = expected(model, x, torch.ones(5, 6))
    np.testing.assert_allclose(extracted(model, {"x": x, name: values}), whole, atol=1e-6)


def test_a_mask_of_later_positions_may_have_as_many_rows_as_there_are_examples():
    for mask in (TRIANGLE, TRIANGLE.T.bool(), TRIANGLE.log(), 1 - TRIANGLE):
        batch = {"x": features(6), "src_mask": mask}
        assert hl.extract(Takes(), [batch], layers="line", reduce="mean", axis=0)["line"].shape == (6, 3)
    shuffled = {"x": features(6), "src_mask": TRIANGLE[torch.tensor([3, 0, 5, 1, 2, 4])]}
    with pytest.raises(ValueError, match="'src_mask', which could mark padding"):
        hl.extract(Takes(), [shuffled], layers="line", reduce="mean", axis=0)


@pytest.mark.parametrize("largest", [-10000, -1e4, -torch.inf, torch.finfo(torch.float32).min])
def test_added_masks_are_known_whatever_their_numbers(largest):
    model, x = Takes(), features()
    added = torch.where(KEEP, 0, largest)
    np.testing.assert_allclose(extracted(model, {"x": x, "attention_mask": added}), expected(model, x), atol=1e-6)


@pytest.mark.parametrize("values", [(1, -1), (1.0, -1e4), (1.0, 0.5), (0.0, -1.0), (2, 0), (1.0, torch.nan)])
def test_masks_of_other_numbers_are_refused(values):
    batch = {"x": features(), "attention_mask": torch.where(KEEP, *values)}
    with pytest.raises(
        ValueError, match="attention_mask must hold nothing but 0 and 1, or 0 and large negative numbers"
    ):
        extracted(Takes(), batch)
    assert extracted(Takes(), batch, mask=lambda batch: batch["attention_mask"] == values[0]).shape == (5, 3)


@pytest.mark.parametrize("name", ["lens", "n_frames", "num_frames", "lengths", "x_lens", "column_lens"])
def test_lengths_by_their_usual_names_are_named_and_the_remedy_helps(name):
    model, x = Takes(), features()
    values = {"column_lens": LENGTHS[:, None], "n_frames": LENGTHS.float()}
    batch = {"x": x, name: values.get(name, LENGTHS)}
    with pytest.warns(hl.ExtractionWarning, match=rf"batch\['{name}'\] says that rows are shorter") as caught:
        extracted(model, batch)
    remedy = re.search("mask=(lambda batch: .*), true where", str(caught[0].message))[1]
    np.testing.assert_allclose(extracted(model, batch, mask=eval(remedy)), expected(model, x), atol=1e-6)


def test_whole_numbers_without_a_name_are_lengths_if_the_longest_is_all_positions():
    def forward(model, batch):
        return model(batch[0])

    with pytest.warns(hl.ExtractionWarning, match=r"batch\[1\] says that rows are shorter"):
        extracted(Takes(), (features(), LENGTHS), forward=forward)
    with warnings.catch_warnings():
        warnings.simplefilter("error", hl.ExtractionWarning)
        for targets in (LENGTHS - 1, LENGTHS + 1, LENGTHS.clamp(max=5), torch.full((5,), 6), LENGTHS.float()):
            extracted(Takes(), (features(), targets), forward=forward)


def test_features_that_begin_in_zeros_are_named_and_the_remedy_helps():
    model, keep = Takes(), KEEP.flip(1)
    x = features() * keep[:, :, None]
    with pytest.warns(hl.ExtractionWarning, match="rows of batch begin in zeros of unequal lengths") as caught:
        extracted(model, x)
    remedy = re.search("mask=(lambda batch: .*), true where", str(caught[0].message))[1]
    np.testing.assert_allclose(extracted(model, x, mask=eval(remedy)), expected(model, x, keep), atol=1e-6)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("kind", ["strided", "jagged", "inside"])
def test_nested_tensors_whose_features_are_of_unequal_numbers_are_refused(kind):
    class Turns(nn.Module):
        def __init__(self):
            super().__init__()
            self.same = nn.Identity()

        def forward(self, x):
            return self.same(x.transpose(1, 2) if kind == "inside" else x)

    rows = [torch.ones(n, 3) for n in (2, 5, 4)]
    turned = torch.nested.nested_tensor([row.T for row in rows])
    jagged = torch.nested.nested_tensor(rows, layout=torch.jagged)
    data = {"strided": turned, "jagged": jagged.transpose(1, 2), "inside": jagged}[kind]
    told = (
        "^layer 'same' must put out .* got a nested tensor whose features, not its positions, are of unequal numbers: "
    )
    with pytest.raises(ValueError, match=told):
        hl.extract(Turns(), [data], layers="same", reduce="mean")
