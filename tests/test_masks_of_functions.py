"""A mask of a batch belongs to the layers of a function as it does to those of a module: to those that have its positions."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import torch

import homolog as hl

RANDOM = np.random.default_rng(0)
TABLE, LATENTS = RANDOM.normal(size=(30, 4)), RANDOM.normal(size=(6, 4))
ENCODE, DECODE, KEYS = RANDOM.normal(size=(3, 4, 4))
SOURCE, TARGET = np.array([6, 3, 5, 2, 4]), np.array([2, 6, 1, 4, 3])
IDS = RANDOM.integers(0, 30, (2, 5, 6))
X = RANDOM.normal(size=(5, 6, 4))


def keep(lengths, longest=6):
    return np.arange(longest)[None] < lengths[:, None]


LIBRARIES = {"numpy": np.asarray, "jax": jax.numpy.asarray, "torch": torch.tensor}


@pytest.fixture(params=LIBRARIES)
def of(request):
    return LIBRARIES[request.param]


def translate(of):
    """An encoder and a decoder that attends to it, with the names of Hugging Face's inputs."""

    def translate(batch):
        assert all(type(value) is type(of(TABLE)) for value in batch.values())
        source = of(TABLE)[batch["input_ids"]] @ of(ENCODE)
        target = of(TABLE)[batch["decoder_input_ids"]] @ of(DECODE)
        keys = source @ of(KEYS)
        return {"encode": source, "decode": target, "keys": keys, "mix": target + (target @ keys.mT) ** 2 @ source}

    return translate


def mean_of(output, counted):
    return (np.asarray(output) * counted[:, :, None]).sum(1) / counted.sum(1, keepdims=True)


@pytest.mark.parametrize("given", ["both", "attention_mask", "decoder_attention_mask", "neither"])
def test_every_layer_has_the_mask_of_the_input_it_depends_on(of, given):
    masks = {"attention_mask": keep(SOURCE).astype("i8"), "decoder_attention_mask": keep(TARGET)}
    masks = {key: mask for key, mask in masks.items() if given in (key, "both")}
    data = {"input_ids": IDS[0], "decoder_input_ids": IDS[1], **masks}
    data = {key: of(value) for key, value in data.items()}
    taken = hl.extract(translate(of), [data], reduce="mean")
    source, target = (
        keep(lengths) if key in data else keep(SOURCE * 0 + 6)
        for key, lengths in (("attention_mask", SOURCE), ("decoder_attention_mask", TARGET))
    )
    for name, output in translate(of)(data).items():
        np.testing.assert_allclose(
            taken[name], mean_of(output, source if name in ("encode", "keys") else target), atol=1e-5
        )


def latents(x, of):
    scores = of(LATENTS) @ x.mT
    return scores**2 @ x


FOREIGN = {
    "latents": latents,
    "turned": lambda x, of: of(np.ascontiguousarray(np.asarray(x)[:, ::-1])),
    "rolled": lambda x, of: of(np.roll(np.asarray(x), 1, axis=1)),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_positions_that_are_not_those_of_the_input_are_refused(of, kind):
    def function(batch):
        return {"out": FOREIGN[kind](batch["x"], of)}

    data = [{"x": of(X), "attention_mask": of(keep(SOURCE))}]
    with pytest.raises(ValueError, match="layer 'out' must have the positions of what attention_mask masks"):
        hl.extract(function, data, layers="out", reduce="mean")
    output = function(data[0])["out"]
    for rule, counted in ((None, keep(SOURCE * 0 + 6)), ("attention_mask", keep(SOURCE))):
        taken = hl.extract(function, data, layers="out", reduce="mean", mask={"out": rule})
        np.testing.assert_allclose(taken["out"], mean_of(output, counted), rtol=1e-5, atol=1e-5)


def test_what_depends_on_no_input_has_no_padding(of):
    def function(batch):
        return {"free": of(np.tile(LATENTS, (len(batch["x"]), 1, 1))), "line": batch["x"] @ of(KEYS)}

    data = {"x": of(X), "attention_mask": of(keep(SOURCE))}
    taken = hl.extract(function, [data], reduce="mean")
    np.testing.assert_allclose(taken["free"], np.tile(LATENTS.mean(0), (5, 1)), atol=1e-6)
    np.testing.assert_allclose(taken["line"], mean_of(X @ KEYS, keep(SOURCE)), atol=1e-5)


def test_padding_without_a_mask_is_told_in_the_words_of_the_library(of):
    def function(batch):
        return {"line": batch["x"] @ of(KEYS)}

    data = {"x": of(X), "lengths": of(SOURCE)}
    with pytest.warns(hl.ExtractionWarning, match=r"batch\['lengths'\] says that rows are shorter") as caught:
        hl.extract(function, [data], reduce="mean")
    said = str(caught[0].message)
    assert ("torch" in said) == (of is torch.tensor)
    places = torch if of is torch.tensor else np
    rule = {"line": lambda batch: places.arange(6)[None] < batch["lengths"][:, None]}
    taken = hl.extract(function, [data], reduce="mean", mask=rule)
    np.testing.assert_allclose(taken["line"], mean_of(X @ KEYS, keep(SOURCE)), atol=1e-5)
