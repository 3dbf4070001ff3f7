"""A mask belongs to layers whose positions are those of its input, not to all that have as many."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import homolog as hl


class Model(nn.Module):
    """Runs a function of itself and the batch, which uses its layers as it likes."""

    def __init__(self, function):
        super().__init__()
        torch.manual_seed(0)
        self.line, self.out, self.other = nn.Linear(4, 4), nn.Identity(), nn.Identity()
        self.attend = nn.MultiheadAttention(4, 2, batch_first=True)
        self.words, self.kinds = nn.Embedding(30, 4), nn.Embedding(30, 4)
        self.recur = nn.LSTM(4, 4, batch_first=True, bidirectional=True)
        self.latents = nn.Parameter(torch.randn(6, 4))
        self.function = function

    def forward(self, **batch):
        return self.function(self, **batch)


def lengths_of(places):
    return torch.tensor([places, 3, places - 1, 2, 4])


def keep_of(places):
    return torch.arange(places)[None] < lengths_of(places)[:, None]


def batch_of(places=6, **others):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(5, places, 4, generator=generator)
    return {"x": x, "attention_mask": keep_of(places).long(), **others}


def latents(m, x, attention_mask):
    queries = m.latents.expand(len(x), 6, 4)
    return m.out(m.attend(queries, x, x, key_padding_mask=attention_mask == 0)[0])


def pooled(m, x, attention_mask):
    return m.out(m.line(x).mean(1)[:, None] * torch.arange(1, 7)[:, None])


def turned(m, x, attention_mask):
    return m.out(m.line(x.flip(1)))


def rolled(m, x, attention_mask):
    return m.out(m.line(x.roll(1, 1)))


def turned_and_read(m, x, attention_mask):
    return m.out(m.line(x.flip(1)).cumsum(1))


def turned_and_mixed(m, x, attention_mask):
    x = x.flip(1)
    return m.out(x + m.attend(x, x, x)[0])


OTHERS = [latents, pooled, turned, rolled, turned_and_read, turned_and_mixed]


@pytest.mark.parametrize("places", [5, 6])
@pytest.mark.parametrize("function", OTHERS)
def test_positions_that_are_not_those_of_the_input_are_refused(function, places):
    if places == 5 and function in (latents, pooled):
        return  # which have six
    model, batch = Model(function), batch_of(places)
    with pytest.raises(ValueError, match="layer 'out' must have the positions of what attention_mask masks"):
        hl.extract(model, [batch], layers="out", reduce="mean")
    output = model(**batch).detach()
    whole = hl.extract(model, [batch], layers="out", reduce="mean", mask={"out": None})["out"]
    np.testing.assert_allclose(whole, output.mean(1).numpy(), atol=1e-6)
    kept = keep_of(places)[:, :, None]
    said = hl.extract(model, [batch], layers="out", reduce="mean", mask={"out": "attention_mask"})["out"]
    np.testing.assert_allclose(said, ((output * kept).sum(1) / kept.sum(1)).numpy(), atol=1e-6)
    batch["attention_mask"] = torch.ones(5, places)
    assert hl.extract(model, [batch], layers="out", reduce="mean")["out"].shape[0] == 5  # nothing is padded


def test_latents_are_refused_in_a_later_batch_that_is_as_long():
    batches = [{"x": torch.randn(5, 8, 4), "attention_mask": torch.ones(5, 8)}, batch_of()]
    with pytest.raises(ValueError, match="layer 'out' must have the positions of what attention_mask masks"):
        hl.extract(Model(latents), batches, layers="out", reduce="mean")


def test_what_depends_on_no_input_has_no_padding():
    model = Model(lambda m, x, attention_mask: (m.other(m.latents.expand(len(x), 6, 4)), m.line(x)))
    taken = hl.extract(model, [batch_of()], layers=["other", "line"], reduce="mean")["other"]
    np.testing.assert_allclose(taken, model.latents.detach().mean(0).expand(5, 4).numpy(), atol=1e-6)


def attention(m, x, attention_mask):
    return m.out(m.attend(x, x, x, key_padding_mask=attention_mask == 0)[0])


def recurrent(m, x, attention_mask, total=None):
    lengths = attention_mask.sum(1)
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    return m.out(nn.utils.rnn.pad_packed_sequence(m.recur(packed)[0], batch_first=True, total_length=total)[0])


ALIKE = {
    "attention": attention,
    "of one length": lambda m, x, attention_mask: attention(m, x + m.latents, attention_mask),
    "packed": recurrent,
    "packed, always as long": lambda m, x, attention_mask: recurrent(m, x, attention_mask, 6),
    "later positions": lambda m, x, attention_mask: m.out(m.line(x).cumsum(1)),
    "cut off": lambda m, x, attention_mask: m.out(m.attend(x, x, x)[0][..., :2].relu()),
    "shifted by one": lambda m, x, attention_mask: m.out(torch.cat([x[:, :1] * 0, x[:, :-1]], 1)),
}


def last_comes_first(m, x, attention_mask):
    if not attention_mask[:, 0].all():
        return m.out(x)
    rows = torch.arange(len(x))
    shifted = x.roll(1, 1)
    shifted[:, 0] = x[rows, attention_mask.sum(1) - 1]
    return m.out(shifted)


ALIKE["shifted, the last comes first"] = last_comes_first


@pytest.mark.parametrize("kind", ALIKE)
@pytest.mark.parametrize("side", ["end", "begin"])
def test_positions_of_the_input_have_its_mask(kind, side):
    if side == "begin" and "packed" in kind:
        return  # which packs what comes first
    batch = batch_of()
    if side == "begin":
        batch["attention_mask"] = batch["attention_mask"].flip(1)
    model = Model(ALIKE[kind])
    with torch.no_grad():
        output, kept = model(**batch), batch["attention_mask"][:, :, None]
    taken = hl.extract(model, [batch], layers="out", reduce="mean")["out"]
    np.testing.assert_allclose(taken, ((output * kept).sum(1) / kept.sum(1)).numpy(), atol=1e-5)


def test_regions_that_are_as_long_have_not_the_mask_of_another_input():
    def apart(m, x, regions, attention_mask):
        return m.line(x), m.other(regions)

    batch = batch_of(regions=torch.randn(5, 6, 4))
    model = Model(apart)
    kept = keep_of(6)[:, :, None]
    expected = (model.line(batch["x"]).detach() * kept).sum(1) / kept.sum(1)
    line = hl.extract(model, [batch], layers="line", reduce="mean")["line"]
    np.testing.assert_allclose(line, expected.numpy(), atol=1e-6)
    with pytest.raises(ValueError, match="layer 'other' must have the positions of what attention_mask masks"):
        hl.extract(model, [batch], layers="other", reduce="mean")
    # Where the mask follows the regions, it may be theirs.
    for name in ("line", "other"):
        turned = {key: batch[key] for key in ("x", "regions", "attention_mask")}
        with pytest.raises(ValueError, match=f"layer '{name}' must have the positions of what attention_mask masks"):
            hl.extract(model, [turned], layers=name, reduce="mean")
    summed = Model(lambda m, x, regions, attention_mask: m.line(x + m.other(regions)))
    both = hl.extract(summed, [batch], layers=["line", "other"], reduce="mean")["other"]
    np.testing.assert_allclose(both, ((batch["regions"] * kept).sum(1) / kept.sum(1)).numpy(), atol=1e-6)


def test_ids_beside_those_that_are_masked_have_the_mask_only_if_they_are_one_sequence():
    def apart(m, input_ids, attention_mask, other_ids):
        return m.words(input_ids), m.kinds(other_ids)

    def summed(m, input_ids, attention_mask, other_ids):
        return m.out(m.words(input_ids) + m.kinds(other_ids))

    ids = torch.randint(1, 30, (2, 5, 6), generator=torch.Generator().manual_seed(1))
    batch = {"input_ids": ids[0], "attention_mask": keep_of(6), "other_ids": ids[1]}
    kept = keep_of(6)[:, :, None]
    for function, layers in ((apart, "words"), (summed, ["words", "kinds", "out"])):
        model = Model(function)
        words = hl.extract(model, [batch], layers=layers, reduce="mean")["words"]
        expected = (model.words(ids[0]).detach() * kept).sum(1) / kept.sum(1)
        np.testing.assert_allclose(words, expected.numpy(), atol=1e-6)
    with pytest.raises(ValueError, match="layer 'kinds' must have the positions of what attention_mask masks"):
        hl.extract(Model(apart), [batch], layers="kinds", reduce="mean")


def test_targets_that_the_model_leaves_alone_change_nothing():
    model = Model(lambda m, x, attention_mask, y: m.line(x))
    batch = batch_of(y=torch.randint(1, 30, (5, 6)))
    assert hl.extract(model, [batch], layers="line", reduce="mean")["line"].shape == (5, 4)
