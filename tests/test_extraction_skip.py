"""Extraction: tokens that a reduction leaves out although they are no padding."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import nn

import homolog as hl

LENGTHS = [6, 3, 5, 2]
LONGEST = 6


class Reader(nn.Module):
    """Tokens, each read by itself, and one vector for the whole text."""

    def __init__(self):
        super().__init__()
        self.words, self.read, self.pool = nn.Embedding(30, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, input_ids, attention_mask=None, position_ids=None, labels=None):
        return self.pool(self.read(self.words(input_ids))[:, -1])


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Reader()


def batch(side="right", **more):
    ids = torch.arange(2, 26).reshape(len(LENGTHS), LONGEST)
    places = torch.arange(LONGEST)[None]
    lengths = torch.tensor(LENGTHS)[:, None]
    keep = places < lengths if side == "right" else places >= LONGEST - lengths
    return {"input_ids": ids * keep, "attention_mask": keep.long(), **more}


def tokens_of(model, data):
    with torch.no_grad():
        return model.read(model.words(data["input_ids"])).numpy()


def reduced(values, kept, rule):
    """What a reduction makes of the tokens that are kept."""
    rows = [example[some] for example, some in zip(values, kept, strict=True)]
    if rule == "positions":
        return np.concatenate(rows)
    return np.stack([{"mean": row.mean(0), "first": row[0], "last": row[-1]}[rule] for row in rows])


def without_first(keep, count):
    """The real tokens but for the first few of each row, counted one by one."""
    kept = keep.copy()
    for row in kept:
        row[np.flatnonzero(row)[:count]] = False
    return kept


RULES = ["mean", "first", "last", "positions"]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_first_real_tokens_are_left_out_wherever_padding_lies(model, rule, side):
    data = batch(side)
    kept = without_first(data["attention_mask"].numpy() == 1, 1)
    taken = hl.extract(model, [data], layers="read", reduce=rule, skip_first=1)
    np.testing.assert_allclose(taken["read"], reduced(tokens_of(model, data), kept, rule), rtol=1e-5, atol=1e-6)
    if rule == "positions":
        np.testing.assert_array_equal(np.stack([taken.example_ids, taken.positions], axis=1), np.argwhere(kept))


@pytest.mark.parametrize("rule", RULES)
def test_tokens_of_some_ids_are_left_out_beside_the_first_and_padding(model, rule):
    data = batch("left")
    some = torch.tensor([3, 4, 7, 18])
    kept = without_first(data["attention_mask"].numpy() == 1, 1)
    kept &= ~np.isin(data["input_ids"], some)
    asked = dict(skip_first=1, skip=lambda ids: torch.isin(ids, some))
    taken = hl.extract(model, [data], layers="read", reduce=rule, **asked)
    np.testing.assert_allclose(taken["read"], reduced(tokens_of(model, data), kept, rule), rtol=1e-5, atol=1e-6)


def test_skip_may_answer_in_another_library_and_with_0_and_1(model):
    data = batch()
    ways = [lambda ids: np.isin(ids, [3, 9, 15]), lambda ids: np.isin(ids, [3, 9, 15]).astype(np.int64)]
    ways.append(lambda ids: torch.isin(ids, torch.tensor([3, 9, 15])))
    first, *others = (hl.extract(model, [data], layers="read", reduce="mean", skip=skip)["read"] for skip in ways)
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_a_reduction_of_ones_own_is_given_the_mask_without_the_tokens(model):
    data, seen = batch("left"), []

    def rule(output, mask):
        seen.append(mask.numpy())
        return (output * mask[:, :, None]).sum(1)

    hl.extract(model, [data], layers="read", reduce=rule, skip_first=1)
    np.testing.assert_array_equal(seen[0], without_first(data["attention_mask"].numpy() == 1, 1))
    seen.clear()
    hl.extract(model, [{"input_ids": torch.arange(2, 26).reshape(4, 6)}], layers="read", reduce=rule, skip_first=2)
    np.testing.assert_array_equal(seen[0], np.arange(LONGEST)[None].repeat(4, 0) >= 2)  # there is no padding


@pytest.mark.parametrize("how", ["position_ids", "seq_idx"])
def test_the_first_tokens_of_every_document_in_a_row_are_left_out(model, how):
    ids = torch.arange(2, 14).reshape(2, 6)
    told = {
        "position_ids": torch.tensor([[0, 1, 2, 0, 1, 2], [0, 1, 0, 1, 2, 3]]),
        "seq_idx": torch.tensor([[0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1]]),
    }
    data = {"input_ids": ids, "attention_mask": torch.ones(2, 6), how: told[how]}
    given = dict(forward=lambda model, batch: model(batch["input_ids"]), reduce="positions", layers="read")
    taken = hl.extract(model, [data], skip_first=1, **given)
    np.testing.assert_array_equal(taken.positions, [1, 2, 4, 5, 1, 3, 4, 5])


def test_places_of_left_padded_texts_begin_no_document(model):
    data = batch("left")
    without = hl.extract(model, [data], layers="read", reduce="positions", skip_first=1)
    places = data["attention_mask"].cumsum(1) - 1
    with_places = hl.extract(model, [data | {"position_ids": places}], layers="read", reduce="positions", skip_first=1)
    np.testing.assert_array_equal(with_places.positions, without.positions)


def test_globs_say_it_of_each_layer_and_layers_without_positions_stay(model):
    data = batch()
    plain = hl.extract(model, [data], reduce="mean")
    some = hl.extract(model, [data], reduce="mean", skip_first={"words": 1}, skip={"words": None})
    assert not np.allclose(some["words"], plain["words"])
    for name in ("read", "pool"):
        np.testing.assert_array_equal(some[name], plain[name])
    both = hl.extract(model, [data], reduce={"words": "mean", "read": "last"}, skip_first=1, layers=["words", "read"])
    np.testing.assert_array_equal(both["words"], some["words"])


def test_the_class_token_is_left_out_of_images_in_patches():
    def vision(images):
        patches = images.reshape(len(images), 4, 3)
        return {"block": np.concatenate([np.full((len(images), 1, 3), 100.0), patches], axis=1)}

    images = np.random.default_rng(0).normal(size=(5, 12))
    taken = hl.extract(vision, images, reduce="mean", skip_first=1)
    np.testing.assert_allclose(taken["block"], images.reshape(5, 4, 3).mean(1))


def test_layers_of_functions_with_a_mask_of_their_own():
    ids = np.arange(1, 13).reshape(2, 6)
    mask = np.array([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0]])

    def run(batch):
        own = mask[[int(row[0]) // 6 for row in batch]]
        return {"hidden": hl.Layer(batch[:, :, None] * [1.0, 2.0], own, kind="tokens")}

    taken = hl.extract(run, ids, reduce="positions", skip_first=1, skip=lambda ids: ids == 5)
    np.testing.assert_array_equal(taken["hidden"][:, 0], [4, 6, 8, 9, 10, 11])
    with pytest.raises(ValueError, match=r"skip_first=1 leaves tokens out.* got none among 'output'"):
        hl.extract(
            lambda batch: hl.Layer(batch[:, :, None] * np.ones(3), kind="features"), ids, reduce="mean", skip_first=1
        )


def test_two_models_leave_out_the_same_tokens_as_an_extraction(model):
    data = batch("left")
    asked = dict(layers=["words", "read"], reduce="positions", skip_first=1)
    result = hl.compare_models(model, model, [data], exact=True, measures="hsic", **asked)
    expected = hl.compare(hl.extract(model, [data], **asked), measures="hsic")
    np.testing.assert_allclose(result["hsic"], expected["hsic"], rtol=1e-5)


class Translator(nn.Module):
    """An encoder and a decoder of as many tokens."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Embedding(30, 4), nn.Embedding(30, 4)

    def forward(self, input_ids, decoder_input_ids, **masks):
        return self.encoder(input_ids) + self.decoder(decoder_input_ids)


def test_ids_are_those_of_the_side_that_a_layer_belongs_to():
    torch.manual_seed(0)
    ids = torch.randint(0, 30, (2, 4, 6))
    data = {"input_ids": ids[0], "decoder_input_ids": ids[1]}
    for names in ({}, {key.replace("input_ids", "attention_mask"): torch.ones(4, 6) for key in data}):
        for layer, own in (("encoder", ids[0]), ("decoder", ids[1])):
            given = dict(layers=layer, reduce="positions", skip=lambda ids: ids % 2 == 0)
            taken = hl.extract(Translator(), [data | names], **given)
            np.testing.assert_array_equal(taken.positions, np.argwhere(own.numpy() % 2)[:, 1])
    with pytest.raises(ValueError, match="could have the tokens of several inputs of 6 positions"):
        hl.extract(Translator(), [data], layers="output", reduce="mean", skip=lambda ids: ids % 2 == 0)


# --- Stores


def test_what_is_left_out_is_recorded_and_must_be_the_same_when_a_store_is_continued(model, tmp_path):
    data, path = [batch(), batch("left")], tmp_path / "a.zarr"
    asked = dict(layers="read", reduce="positions", out=path)
    hl.extract(model, data, max_examples=4, skip_first=1, skip=is_odd, **asked)
    for other in ({"skip_first": 0, "skip": is_odd}, {"skip_first": 1}, {"skip_first": 1, "skip": is_even}):
        with pytest.raises(ValueError, match="must be continued as it was begun, with skip"):
            hl.extract(model, data, resume=True, **{**asked, **other})
    whole = hl.extract(model, data, resume=True, skip_first=1, skip=is_odd, **asked)
    assert (whole.provenance["skip_first"], whole.provenance["skip"]) == ("1", "is_odd")
    kept = hl.extract(model, data, layers="read", reduce="positions", skip_first=1, skip=is_odd)
    np.testing.assert_array_equal(whole["read"][:], kept["read"])
    np.testing.assert_array_equal(whole.positions, kept.positions)


def is_odd(ids):
    return ids % 5 == 4


def is_even(ids):
    return ids % 5 == 0


# --- What cannot be


REFUSED = {
    "flatten": (dict(reduce="flatten", skip_first=1), 'use reduce="mean", "first", "last" or "positions"'),
    "flatten in part": (dict(reduce={"words": "mean"}, skip_first=1), "layer 'read' must keep all its tokens"),
    "flatten by ids": (dict(reduce="flatten", skip=is_odd), "skip leaves tokens out, which flatten cannot"),
    "negative": (dict(reduce="mean", skip_first=-1), "skip_first must be a whole number of tokens of at least 0"),
    "truth": (dict(reduce="mean", skip_first=True), "skip_first must be a whole number"),
    "nothing left": (
        dict(reduce="mean", skip_first=2),
        "got none in row 3 of the data, of which skip_first=2 leaves out all",
    ),
    "shape": (
        dict(reduce="mean", skip=lambda ids: ids[0] == 3),
        "skip must return true or false for every token, shape",
    ),
    "numbers": (dict(reduce="mean", skip=lambda ids: ids), "values that are not 0 and 1"),
    "no function": (dict(reduce="mean", skip=[3]), "skip must be a function of the token ids"),
    "no layer": (dict(reduce="mean", skip_first={"reed": 1}), "did you mean read"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_left_out_is_refused_in_a_sentence(model, case):
    asked, sentence = REFUSED[case]
    with pytest.raises((ValueError, TypeError, KeyError), match=re.escape(sentence)):
        hl.extract(model, [batch()], layers=["words", "read"], **asked)


def test_an_example_of_which_nothing_is_left_is_called_by_its_id(model):
    data = batch() | {"id": np.array(["a", "b", "c", "d"])}
    given = dict(layers="read", reduce="mean", forward=lambda model, batch: model(batch["input_ids"]))
    with pytest.raises(ValueError, match="got none in example 'd', of which skip_first=2"):
        hl.extract(model, [data], example_ids="id", skip_first=2, **given)


def test_skip_needs_ids_of_the_positions_of_a_layer():
    def run(batch):
        return {"hidden": batch.reshape(len(batch), 3, 4)}

    with pytest.raises(ValueError, match="has 3 positions, and skip needs the ids of as many tokens"):
        hl.extract(run, np.random.default_rng(0).normal(size=(4, 12)), reduce="mean", skip=lambda ids: ids == 0)


# --- Layers without tokens


def without_tokens(batch):
    return {"text": batch, "map": batch.reshape(len(batch), 3, 2, 2), "last": batch[:, :4]}


DATA = np.random.default_rng(0).normal(size=(4, 12))
CHANNELS = {"channels": "first"}


@pytest.mark.parametrize("rule", ["mean", "positions", lambda output, mask: output.reshape(len(output), -1)])
@pytest.mark.parametrize("layer", ["text", "map"])
def test_nothing_to_leave_out_of_any_layer_is_refused(rule, layer):
    with pytest.raises(ValueError, match=f"skip_first=1 leaves tokens out.* got none among '{layer}'"):
        hl.extract(without_tokens, DATA, layers=layer, reduce=rule, skip_first=1, **CHANNELS)


def test_nothing_to_leave_out_by_a_mapping_is_refused():
    with pytest.raises(ValueError, match="got none among 'text'"):
        hl.extract(without_tokens, DATA, layers=["text", "map"], reduce="mean", skip_first={"text": 2}, **CHANNELS)
    taken = hl.extract(without_tokens, DATA, layers=["text"], reduce="mean", skip_first={"text": 0}, **CHANNELS)
    np.testing.assert_array_equal(taken["text"], DATA)


def test_layers_without_tokens_beside_others_are_named(model):
    with pytest.warns(
        hl.ExtractionWarning, match="skip_first=1 leaves nothing out of 'pool', where there are no tokens"
    ):
        taken = hl.extract(model, [batch()], reduce="mean", skip_first=1)
    silenced = hl.extract(model, [batch()], reduce="mean", skip_first={"pool": 0, "**": 1})
    for name in taken:
        np.testing.assert_array_equal(taken[name], silenced[name])


def test_an_example_without_tokens_left_is_counted_over_the_data(model):
    data = batch()
    batches = [{key: value[rows] for key, value in data.items()} for rows in (slice(0, 2), slice(2, 4))]
    with pytest.raises(ValueError, match="got none in row 3 of the data, of which skip_first=2"):
        hl.extract(model, batches, layers="read", reduce="mean", skip_first=2)
    with pytest.raises(ValueError, match="got none in row 3 of the data, of which skip_first=2"):
        hl.compare_models(model, model, batches, layers="read", reduce="mean", skip_first=2)


@pytest.mark.parametrize("number", [np.int64(1), np.uint8(1), {"read": np.int32(1)}])
def test_whole_numbers_of_numpy_are_taken(model, number):
    data = batch()
    one = hl.extract(model, data, layers="read", reduce="mean", skip_first=1)
    same = hl.extract(
        model, data, layers="read", reduce="mean", skip_first=number, batch_size=np.int64(3), max_examples=np.int64(4)
    )
    np.testing.assert_allclose(one["read"], same["read"])
    if not isinstance(number, dict):
        assert same.provenance["skip_first"] == "1"
    with pytest.raises(ValueError, match="skip_first must be a whole number"):
        hl.extract(model, data, layers="read", reduce="mean", skip_first=np.bool_(True))
