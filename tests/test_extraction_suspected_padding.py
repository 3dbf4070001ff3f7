"""Padding of which no mask tells is named where it can be seen in the batch, and nowhere else."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import homolog as hl

LENGTHS = torch.tensor([6, 3, 5, 2, 4])


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def keep(lengths=LENGTHS, longest=6):
    return torch.arange(longest)[None] < lengths[:, None]


class Reader(nn.Module):
    """Makes its own mask of what is 0, as models do that are given ids alone."""

    def __init__(self):
        super().__init__()
        self.words, self.attend = nn.Embedding(99, 4), nn.MultiheadAttention(4, 1, batch_first=True)

    def forward(self, input_ids, lengths=None):
        x = self.words(input_ids)
        return self.attend(x, x, x, key_padding_mask=input_ids == 0)[0]


def ids(rows=5, places=6):
    return torch.arange(1, 1 + rows * places).reshape(rows, places)


def padded(side="end"):
    kept = keep() if side == "end" else keep().flip(1)
    return torch.where(kept, ids(), 0)


def mean_of(values, kept):
    return ((values * kept[:, :, None]).sum(1) / kept.sum(1, keepdim=True)).numpy()


@pytest.mark.parametrize("side", ["end", "begin"])
@pytest.mark.parametrize("form", ["tensor", "tuple", "mapping", "forward"])
def test_ids_that_rows_end_in_are_named_and_the_remedy_helps(form, side):
    model, given = Reader().eval(), padded(side)
    data, forward, where = {
        "tensor": ([given], None, "batch"),
        "tuple": ([(given, torch.zeros(5))], None, "batch"),
        "mapping": ([{"input_ids": given}], None, "batch['input_ids']"),
        "forward": ([(torch.zeros(5), given)], lambda m, b: m(b[1]), "batch[1]"),
    }[form]
    options = {"layers": "words", "reduce": "mean", "forward": forward}
    told = f"words: every position counts, though rows of {where} {side} in runs of 0 of unequal lengths"
    with pytest.warns(hl.ExtractionWarning) as caught:
        hl.extract(model, data, **options)
    assert [str(one.message).startswith(told) for one in caught] == [True]
    remedy = re.search("mask=(lambda batch: .*), true where", str(caught[0].message))[1]
    taken = hl.extract(model, data, mask=eval(remedy), **options)["words"]  # without a warning
    np.testing.assert_allclose(taken, mean_of(model.words(given).detach(), given > 0), atol=1e-6)
    whole = hl.extract(model, data, mask={"**": None}, **options)["words"]
    np.testing.assert_allclose(whole, model.words(given).detach().mean(1).numpy(), atol=1e-6)


@pytest.mark.parametrize("reduce", ["flatten", "mean", "last", "positions", lambda output, mask: output.mean(1)])
def test_padding_in_a_later_batch_is_named_once_for_all_layers(reduce):
    data = [ids(), ids() + 30, padded(), padded()]
    with pytest.warns(hl.ExtractionWarning, match="^words, attend: every position counts") as caught:
        hl.extract(Reader().eval(), data, reduce=reduce)
    assert len(caught) == 1
    assert list(hl.extract(Reader().eval(), data[:2], reduce=reduce)) == ["words", "attend"]


@pytest.mark.parametrize("reduce", ["first", lambda output, mask: output[:, 0]])
def test_reductions_that_leave_the_padding_out_by_themselves_are_not_named(reduce):
    assert list(hl.extract(Reader().eval(), [padded()], reduce=reduce)) == ["words", "attend"]
    with pytest.warns(hl.ExtractionWarning, match="every position counts"):
        hl.extract(Reader().eval(), [padded("begin")], reduce=reduce)


def ending(*ends):
    """Ids whose rows end as they are told."""
    found = ids(len(ends))
    for row, end in zip(found, ends, strict=True):
        if end:
            row[-len(end) :] = torch.tensor(end)
    return found


UNPADDED = {
    "no runs": ids(),
    "one last id": ending([7], [7], [7]),
    "a run of equal length": ending([7, 7], [7, 7], [7, 7]),
    "some end in it by chance": ending([80], [], [80], []),
    "it stands elsewhere too": torch.tensor([[0, 5, 0, 6, 0, 0], [1, 0, 2, 3, 4, 0], [5, 6, 7, 8, 9, 10]]),
    "one example": ending([0, 0, 0]),
    "few other ids": torch.tensor([[1, 1, 2, 2, 2, 2], [1, 1, 1, 1, 2, 2], [1, 1, 1, 1, 1, 2]]),
}


@pytest.mark.parametrize("kind", UNPADDED)
def test_ids_that_rows_may_end_in_for_other_reasons_are_not_named(kind):
    model = nn.Sequential(nn.Embedding(99, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error", hl.ExtractionWarning)
        hl.extract(model, [UNPADDED[kind]] * 2, reduce="mean", forward=lambda m, b: m(b))


def test_the_last_id_of_a_text_may_be_that_of_padding():
    given = torch.where(keep(LENGTHS - 1), ids(), 98)
    with pytest.warns(hl.ExtractionWarning, match="rows of batch end in runs of 98"):
        hl.extract(nn.Sequential(nn.Embedding(99, 4)), [given], reduce="mean")
    begun = torch.cat([torch.zeros(5, 1, dtype=torch.long), padded()], 1)  # as decoders begin
    with pytest.warns(hl.ExtractionWarning, match="rows of batch end in runs of 0"):
        hl.extract(nn.Sequential(nn.Embedding(99, 4)), [begun], reduce="mean")


def test_lengths_and_zeros_say_it_too():
    class Takes(nn.Module):
        def __init__(self):
            super().__init__()
            self.line = nn.Linear(3, 4)

        def forward(self, x, x_lengths=None):
            return self.line(x)

    model, x = Takes(), torch.randn(5, 6, 3)
    zeros = torch.where(keep()[:, :, None], x, 0.0)
    told = {
        "says that rows are shorter": {"x": x, "x_lengths": LENGTHS},
        "end in zeros of unequal lengths": {"x": zeros},
    }
    for words, batch in told.items():
        with pytest.warns(hl.ExtractionWarning, match=words) as caught:
            hl.extract(model, [batch], reduce="mean")
        remedy = re.search("mask=(lambda batch: .*), true where", str(caught[0].message))[1]
        taken = hl.extract(model, [batch], reduce="mean", mask=eval(remedy))["line"]
        np.testing.assert_allclose(taken, mean_of(model.line(batch["x"]).detach(), keep()), atol=1e-6)
    black = torch.nn.functional.pad(zeros[:, :3], (0, 0, 2, 1))  # pictures with a margin all around
    hl.extract(model, [black], reduce="mean")
    hl.extract(model, [{"x": x, "x_lengths": torch.full((5,), 6)}], reduce="mean")


def test_sounds_that_end_in_silence_are_named():
    class Hears(nn.Module):
        def __init__(self):
            super().__init__()
            self.frames = nn.Linear(4, 3)

        def forward(self, x):
            return self.frames(x.reshape(len(x), -1, 4))

    model, kept = Hears(), keep(4 * LENGTHS, 24)
    sounds = torch.where(kept, torch.randn(5, 24), 0.0)
    with pytest.warns(
        hl.ExtractionWarning, match=r"^frames: every .* rows of batch end in zeros .* pass mask=function"
    ):
        hl.extract(model, [sounds], reduce="mean")
    taken = hl.extract(model, [sounds], reduce="mean", mask=lambda batch: (batch != 0)[:, ::4])["frames"]
    frames = model(sounds).detach()
    np.testing.assert_allclose(taken, mean_of(frames, keep()), atol=1e-6)
    clipped = sounds.clone()
    clipped[:, 10] = 0  # silence elsewhere too
    hl.extract(model, [clipped], reduce="mean")
    hl.extract(nn.Sequential(nn.Linear(24, 3)), [sounds])  # no positions


def test_a_mask_that_was_given_is_believed():
    class Masked(Reader):
        def forward(self, input_ids, attention_mask):
            return super().forward(input_ids)

    batch = {"input_ids": padded(), "attention_mask": keep().long()}
    model = Masked().eval()
    taken = hl.extract(model, [batch], layers="words", reduce="mean")["words"]
    np.testing.assert_allclose(taken, mean_of(model.words(padded()).detach(), keep()), atol=1e-6)
    whole = {"input_ids": padded(), "attention_mask": torch.ones(5, 6)}
    taken = hl.extract(model, [whole], layers="words", reduce="mean")["words"]  # without a warning
    np.testing.assert_allclose(taken, model.words(padded()).detach().mean(1).numpy(), atol=1e-6)
