"""Extraction: a mask belongs to the inputs it masks, and to the layers that depend on them."""

from __future__ import annotations

import re
import types

import numpy as np
import pytest
import torch
from torch import nn

import homolog as hl


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


class Translator(nn.Module):
    """An encoder and a decoder that attends to it, with the argument names of Hugging Face models."""

    def __init__(self, mixed="mixed"):
        super().__init__()
        self.words = nn.Embedding(30, 4)
        self.encode, self.decode, self.keys, self.mix = (nn.Linear(4, 4) for _ in range(4))

    def forward(self, input_ids, decoder_input_ids, attention_mask=None, decoder_attention_mask=None):
        source = self.encode(self.words(input_ids))
        target = self.decode(self.words(decoder_input_ids))
        keys = self.keys(source)
        return self.mix(target + (target @ keys.transpose(1, 2)).softmax(-1) @ source)


LAYERS = ["words", "words#2", "encode", "decode", "keys", "mix"]
SOURCE, TARGET = torch.tensor([6, 3, 5, 2, 4]), torch.tensor([2, 6, 1, 4, 3])


def keep(lengths, longest=6):
    return torch.arange(longest)[None] < lengths[:, None]


def translation(**masks):
    ids = torch.randint(0, 30, (2, 5, 6), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids[0], "decoder_input_ids": ids[1], **masks}


def outputs(model, data):
    """The layers, by hooks of the test's own."""
    found, handles = {}, []
    for name, module in model.named_children():

        def hook(module, arguments, output, name=name):
            found[name if name not in found else f"{name}#2"] = output.detach()

        handles.append(module.register_forward_hook(hook))
    with torch.no_grad():
        model(**data)
    for handle in handles:
        handle.remove()
    return found


def mean_of(output, lengths):
    return torch.stack([row[:n].mean(0) for row, n in zip(output, lengths, strict=True)]).numpy()


FULL = torch.full((5,), 6)


@pytest.mark.parametrize("given", ["both", "attention_mask", "decoder_attention_mask", "neither"])
def test_every_layer_of_an_encoder_and_decoder_has_the_mask_of_its_input(given):
    masks = {"attention_mask": keep(SOURCE).long(), "decoder_attention_mask": keep(TARGET)}
    data = translation(**{key: mask for key, mask in masks.items() if given in (key, "both")})
    model = Translator()
    source = SOURCE if "attention_mask" in data else FULL
    target = TARGET if "decoder_attention_mask" in data else FULL
    lengths = dict(zip(LAYERS, [source, target, source, target, source, target], strict=True))
    taken = hl.extract(model, [data], layers=[*LAYERS, "output"], reduce="mean")
    expected = outputs(model, data)
    for name, counted in lengths.items():
        np.testing.assert_allclose(taken[name], mean_of(expected[name], counted), atol=1e-6, err_msg=name)
    np.testing.assert_array_equal(taken["output"], taken["mix"])
    if given != "neither":
        with pytest.raises(ValueError, match="holds padding"):
            hl.extract(model, [data], layers=LAYERS)
    if given == "decoder_attention_mask":
        assert hl.extract(model, [data], layers=["encode", "keys"])["keys"].shape == (5, 24)
    wanted = {"encode": "attention_mask", "mix": None}
    if given == "both":
        said = hl.extract(model, [data], layers=["encode", "mix"], reduce="mean", mask=wanted)
        np.testing.assert_allclose(said["mix"], mean_of(expected["mix"], FULL), atol=1e-6)
        np.testing.assert_array_equal(said["encode"], taken["encode"])


def test_a_mask_of_a_later_batch_belongs_to_the_same_layers():
    first, second = translation(), translation()
    first |= {"attention_mask": keep(FULL), "decoder_attention_mask": keep(FULL)}
    second |= {"attention_mask": keep(SOURCE), "decoder_attention_mask": keep(TARGET)}
    model = Translator()
    taken = hl.extract(model, [first, second], layers=LAYERS, reduce="mean")
    for name, lengths in {"keys": SOURCE, "mix": TARGET}.items():
        np.testing.assert_allclose(taken[name][5:], mean_of(outputs(model, second)[name], lengths), atol=1e-6)


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.transformer = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)

    def forward(self, src, tgt, src_key_padding_mask=None, tgt_key_padding_mask=None, memory_key_padding_mask=None):
        return self.transformer(
            src,
            tgt,
            src_key_padding_mask=src_key_padding_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
        )


@pytest.mark.parametrize("floating", [False, True])
def test_key_padding_masks_of_pytorch_are_true_at_padding(floating):
    padding = {"src_key_padding_mask": ~keep(SOURCE), "tgt_key_padding_mask": ~keep(TARGET)}
    if floating:
        padding = {name: torch.zeros(5, 6).masked_fill(mask, -torch.inf) for name, mask in padding.items()}
    padding["memory_key_padding_mask"] = padding["src_key_padding_mask"]
    data = {"src": torch.randn(5, 6, 8), "tgt": torch.randn(5, 6, 8), **padding}
    model = Transformer().eval()
    names = {f"transformer.{side}.layers.0": lengths for side, lengths in (("encoder", SOURCE), ("decoder", TARGET))}
    taken = hl.extract(model, [data], layers=list(names), reduce="mean")
    for name, lengths in names.items():
        found = []
        handle = model.get_submodule(name).register_forward_hook(lambda m, a, o, found=found: found.append(o))
        torch.backends.mha.set_fastpath_enabled(False)
        with torch.no_grad():
            model(**data)
        torch.backends.mha.set_fastpath_enabled(True)
        handle.remove()
        np.testing.assert_allclose(taken[name], mean_of(found[0], lengths), atol=1e-5)


class Towers(nn.Module):
    """Pictures without padding and text with it, by names that say nothing."""

    def __init__(self):
        super().__init__()
        self.picture, self.text, self.both = nn.Linear(5, 4), nn.Embedding(30, 4), nn.Linear(4, 3)

    def forward(self, pixel_values, input_ids, attention_mask):
        return self.both(self.text(input_ids) + self.picture(pixel_values.flatten(2).transpose(1, 2)).mean(1)[:, None])


@pytest.mark.parametrize("places", [6, 9])
def test_a_layer_of_unpadded_pictures_has_no_padding_because_the_text_has(places):
    pictures = torch.randn(5, 5, places)
    data = {"pixel_values": pictures, "input_ids": torch.randint(0, 30, (5, 6)), "attention_mask": keep(SOURCE)}
    model = Towers()
    taken = hl.extract(model, [data], layers=["picture", "text"], reduce={"picture": "flatten", "text": "mean"})
    assert taken["picture"].shape == (5, 4 * places)
    expected = outputs(model, data)
    np.testing.assert_allclose(taken["text"], mean_of(expected["text"], SOURCE), atol=1e-6)
    mean = hl.extract(model, [data], layers="picture", reduce="mean")["picture"]
    np.testing.assert_allclose(mean, expected["picture"].mean(1).numpy(), atol=1e-6)


class Listener(nn.Module):
    """Sounds whose frames are fewer than their samples."""

    def __init__(self):
        super().__init__()
        self.frames = nn.Linear(4, 3)

    def forward(self, input_values, attention_mask):
        return self.frames(input_values.reshape(len(input_values), -1, 4))


def test_frames_are_fewer_than_samples():
    sounds = torch.randn(5, 24)
    whole = {"input_values": sounds, "attention_mask": torch.ones(5, 24, dtype=torch.long)}
    assert hl.extract(Listener(), [whole], reduce="mean")["frames"].shape == (5, 3)
    assert hl.extract(Listener(), [whole])["frames"].shape == (5, 18)
    padded = {**whole, "attention_mask": keep(4 * SOURCE, 24)}
    for rule in ("mean", "flatten"):
        with pytest.raises(ValueError, match=r"'frames' has 6 positions, but attention_mask has shape \(5, 24\): pass"):
            hl.extract(Listener(), [padded], reduce=rule)
    model = Listener()
    said = hl.extract(model, [padded], reduce="mean", mask=lambda batch: batch["attention_mask"][:, ::4])["frames"]
    np.testing.assert_allclose(said, mean_of(outputs(model, padded)["frames"], SOURCE), atol=1e-6)


class TwoSequences(nn.Module):
    """Two sequences of names of one's own, both in one layer."""

    def __init__(self):
        super().__init__()
        self.both = nn.Linear(4, 4)

    def forward(self, left, right, left_attention_mask, right_attention_mask):
        return self.both(left + right)


def test_two_masks_that_could_be_meant_are_refused():
    data = {"left": torch.randn(5, 6, 4), "right": torch.randn(5, 6, 4)}
    data |= {"left_attention_mask": keep(SOURCE), "right_attention_mask": keep(TARGET)}
    message = "'both' could be padded as left_attention_mask or as right_attention_mask says"
    with pytest.raises(ValueError, match=message):
        hl.extract(TwoSequences(), [data], reduce="mean")
    model = TwoSequences()
    said = hl.extract(model, [data], reduce="mean", mask={"both": "right_attention_mask"})["both"]
    np.testing.assert_allclose(said, mean_of(outputs(model, data)["both"], TARGET), atol=1e-6)
    same = {**data, "right_attention_mask": keep(SOURCE)}
    np.testing.assert_allclose(
        hl.extract(model, [same], reduce="mean")["both"], mean_of(outputs(model, same)["both"], SOURCE), atol=1e-6
    )


def test_masks_of_unknown_names_are_not_guessed():
    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x, padding_mask):
            return self.layer(x)

    model, data = Reads(), {"x": torch.randn(5, 6, 4), "padding_mask": keep(SOURCE)}
    with pytest.raises(ValueError, match="'layer' has as many positions as 'padding_mask', which could mark padding"):
        hl.extract(model, [data], reduce="mean")
    layer = outputs(model, data)["layer"]
    for mask, lengths in (
        ("padding_mask", SOURCE),
        ({"**": None}, FULL),
        (lambda batch: keep(TARGET)[: len(batch["x"])], TARGET),
    ):
        if callable(mask):
            taken = hl.extract(model, [data], reduce="mean", mask=mask, axis=0)["layer"]
        else:
            taken = hl.extract(model, [data], reduce="mean", mask=mask)["layer"]
        np.testing.assert_allclose(taken, mean_of(layer, lengths), atol=1e-6)
    with pytest.raises(KeyError, match="mask='padding' must be a key of every batch, got the keys x, padding_mask"):
        hl.extract(model, [data], reduce="mean", mask="padding")
    with pytest.raises(TypeError, match="mask must be a key of the batch, a function"):
        hl.extract(model, [data], mask=3)
    with pytest.raises(ValueError, match=r"must say of every position of the 5 examples .* got shape \(5,\)"):
        hl.extract(model, [data], reduce="mean", mask=lambda batch: torch.ones(len(batch["x"])))


def test_decoder_inputs_made_of_padded_labels_are_refused():
    class Labelled(Translator):
        def forward(self, input_ids, labels, attention_mask=None, decoder_attention_mask=None):
            return super().forward(input_ids, labels.clamp(min=0))

    data = translation()
    labels = data.pop("decoder_input_ids").masked_fill(~keep(TARGET), -100)
    data |= {"labels": labels, "attention_mask": keep(SOURCE)}
    taken = hl.extract(Labelled(), [data], layers=["encode", "keys"], reduce="mean")
    assert taken["keys"].shape == (5, 4)
    with pytest.raises(ValueError, match=r"'mix' depends on labels that hold padding \(-100\)"):
        hl.extract(Labelled(), [data], layers=["encode", "mix"], reduce="mean")
    model, masked = Labelled(), {**data, "decoder_attention_mask": keep(TARGET).long()}  # the remedy of the error
    taken = hl.extract(model, [masked], layers=["encode", "mix"], reduce="mean")
    for name, lengths in {"encode": SOURCE, "mix": TARGET}.items():
        np.testing.assert_allclose(taken[name], mean_of(outputs(model, masked)[name], lengths), atol=1e-6)


def test_images_that_are_padded_are_refused_as_maps():
    class Sees(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolve = nn.Conv2d(3, 2, 3)

        def forward(self, pixel_values, pixel_mask):
            return self.convolve(pixel_values)

    data = {"pixel_values": torch.randn(4, 3, 8, 8), "pixel_mask": torch.ones(4, 8, 8)}
    assert hl.extract(Sees(), [data], reduce="mean")["convolve"].shape == (4, 2)
    data["pixel_mask"][1, :, 5:] = 0
    with pytest.raises(ValueError, match="'convolve' puts out maps of images that pixel_mask says are padded"):
        hl.extract(Sees(), [data], reduce="mean")
    assert hl.extract(Sees(), [data], reduce="mean", mask={"**": None})["convolve"].shape == (4, 2)


class Crossing(nn.Module):
    """A decoder that is given the states of an encoder."""

    def __init__(self):
        super().__init__()
        self.mixed, self.keys = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, hidden, encoder_hidden_states, attention_mask, encoder_attention_mask):
        return self.mixed(hidden + self.keys(encoder_hidden_states).mean(1, keepdim=True))


def test_what_depends_on_an_encoder_too_has_the_positions_of_its_own_input():
    data = {"hidden": torch.randn(5, 6, 4), "encoder_hidden_states": torch.randn(5, 6, 4)}
    data |= {"attention_mask": keep(TARGET), "encoder_attention_mask": keep(SOURCE)}
    model = Crossing()
    taken = hl.extract(model, [data], layers=["mixed", "keys", "input"], reduce="mean")
    for name, lengths in {"mixed": TARGET, "keys": SOURCE}.items():
        np.testing.assert_allclose(taken[name], mean_of(outputs(model, data)[name], lengths), atol=1e-6)
    np.testing.assert_allclose(taken["input"], mean_of(data["hidden"], TARGET), atol=1e-6)


def test_attention_by_itself_has_the_positions_of_its_queries():
    attention = nn.MultiheadAttention(4, 1, batch_first=True)
    query, key = torch.randn(5, 6, 4), torch.randn(5, 6, 4)
    data = {"query": query, "key": key, "value": key, "key_padding_mask": ~keep(SOURCE)}
    with pytest.raises(ValueError, match="'output' could be padded as key_padding_mask or as no mask"):
        hl.extract(attention, [data], layers="output", reduce="mean")
    itself = {**data, "query": key}
    with torch.no_grad():
        expected = mean_of(attention(**itself)[0], SOURCE)
    np.testing.assert_allclose(
        hl.extract(attention, [itself], layers="output", reduce="mean")["output"], expected, atol=1e-5
    )


def test_one_example_is_enough_to_tell_the_inputs_apart():
    first = {
        key: value[:1]
        for key, value in translation(attention_mask=keep(FULL), decoder_attention_mask=keep(FULL)).items()
    }
    second = {
        key: value[:1]
        for key, value in translation(attention_mask=keep(SOURCE), decoder_attention_mask=keep(TARGET)).items()
    }
    second["attention_mask"], second["decoder_attention_mask"] = keep(torch.tensor([4])), keep(torch.tensor([2]))
    model = Translator()
    taken = hl.extract(model, [first, second], layers=["encode", "mix"], reduce="mean")
    layers = outputs(model, second)
    np.testing.assert_allclose(taken["encode"][1], layers["encode"][0, :4].mean(0).numpy(), atol=1e-6)
    np.testing.assert_allclose(taken["mix"][1], layers["mix"][0, :2].mean(0).numpy(), atol=1e-6)


def test_masks_that_are_added_to_scores_hold_large_negative_numbers_at_padding():
    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x, attention_mask):
            return self.layer(x)

    model, x = Reads(), torch.randn(5, 6, 4)
    added = {"x": x, "attention_mask": torch.zeros(5, 6).masked_fill(~keep(SOURCE), -1e9)}
    taken = hl.extract(model, [added], reduce="mean")["layer"]
    np.testing.assert_allclose(taken, mean_of(outputs(model, added)["layer"], SOURCE), atol=1e-6)
    whole = {"x": x, "attention_mask": torch.ones(5, 9)}  # of another length, and without padding
    taken = hl.extract(model, [whole], reduce="mean", mask="attention_mask")["layer"]
    np.testing.assert_allclose(taken, mean_of(outputs(model, whole)["layer"], FULL), atol=1e-6)


@pytest.mark.parametrize("kind", ["tuple", "third", "nested", "record", "own names", "one by one"])
def test_masks_that_reach_the_model_in_other_ways_are_not_overlooked(kind):
    ids, mask = torch.randint(0, 30, (5, 6)), keep(SOURCE)
    model = nn.Module()
    model.embed = nn.Embedding(30, 4)
    kinds = {
        "tuple": ((ids, mask), lambda m, b: m.embed(b[0])),
        "third": ((ids, torch.arange(5), mask), lambda m, b: m.embed(b[0])),
        "nested": (
            ({"input_ids": ids, "attention_mask": mask}, torch.arange(5)),
            lambda m, b: m.embed(b[0]["input_ids"]),
        ),
        "record": (types.SimpleNamespace(input_ids=ids, attention_mask=mask), lambda m, b: m.embed(b.input_ids)),
        "own names": ({"ids": ids, "kept": mask.long()}, lambda m, b: m.embed(b["ids"])),
        "one by one": (
            [{"input_ids": row, "attention_mask": one} for row, one in zip(ids, mask, strict=True)],
            lambda m, b: m.embed(torch.stack([item["input_ids"] for item in b])),
        ),
    }
    batch, forward = kinds[kind]
    with torch.no_grad():
        expected = mean_of(model.embed(ids), SOURCE)
    if kind == "record":
        taken = hl.extract(model, [batch], forward=forward, reduce="mean")["embed"]
        np.testing.assert_allclose(taken, expected, atol=1e-6)
        return
    with pytest.raises(
        ValueError, match=r"'embed' (has as many positions as .* which could mark|may be) padd"
    ) as caught:
        hl.extract(model, [batch], forward=forward, reduce="mean")
    remedy = re.search("mask=(lambda batch: .*?) if", str(caught.value))
    if kind != "one by one":
        told = hl.extract(model, [batch], forward=forward, reduce="mean", mask=eval(remedy[1]))["embed"]
        np.testing.assert_allclose(told, expected, atol=1e-6)


def test_features_beside_tokens_have_not_their_mask():
    class Beside(nn.Module):
        def __init__(self):
            super().__init__()
            self.seen, self.read = nn.Linear(4, 3), nn.Embedding(30, 3)

        def forward(self, input_ids, features, attention_mask):
            return self.read(input_ids) + self.seen(features)

    data = {"input_ids": torch.randint(0, 30, (5, 6)), "features": torch.randn(5, 6, 4), "attention_mask": keep(SOURCE)}
    model = Beside()
    taken = hl.extract(model, [data], reduce="mean", layers=["seen", "read"])
    np.testing.assert_allclose(taken["seen"], mean_of(outputs(model, data)["seen"], FULL), atol=1e-6)
    np.testing.assert_allclose(taken["read"], mean_of(outputs(model, data)["read"], SOURCE), atol=1e-6)
    with pytest.raises(KeyError, match="raed"):
        hl.extract(model, [data], reduce="mean", layers=["seen", "read"], mask={"raed": None})
    with pytest.raises(KeyError, match="raed"):
        hl.extract(model, [data], reduce="mean", layers=["seen", "read"], axis={"raed": 0})


@pytest.mark.parametrize("mask", [None, lambda batch: batch["attention_mask"]], ids=["of the batch", "of a function"])
def test_an_example_that_is_all_padding_is_counted_over_the_data(mask):
    kept = keep(torch.tensor([6, 3, 5, 2, 0])).long()
    data = {"ids": torch.randint(0, 30, (5, 6)), "attention_mask": kept}
    asked = dict(forward=lambda model, batch: model(batch["ids"]), reduce="mean", mask=mask, batch_size=2)
    with pytest.raises(ValueError, match="must keep a position of every example, got none in row 4 of the data: take"):
        hl.extract(nn.Embedding(30, 4), data, **asked)
