"""Masks of batches of any library are arrays of NumPy's, and say the same as those of tensors."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import torch

from homolog.extraction.batch_contents import map_leaves
from homolog.extraction.mask_recognition import reach_of
from homolog.extraction.masks import AmbiguousMaskError, Masks
from homolog.extraction.sequences import input_sequences
from homolog.extraction.suspected_padding import suspected_padding_in

LENGTHS = np.array([6, 3, 5, 2])
KEEP = np.arange(6)[None] < LENGTHS[:, None]
ADDED = np.where(KEEP, 0.0, -1e9)
X = np.random.default_rng(0).normal(size=(4, 6, 3))
IDS = np.random.default_rng(1).integers(3, 30, (4, 6))
LIBRARIES = {
    "numpy": lambda leaf: leaf,
    "read-only": lambda leaf: np.frombuffer(leaf.tobytes(), leaf.dtype).reshape(leaf.shape),
    "big-endian": lambda leaf: leaf.astype(leaf.dtype.newbyteorder(">")),
    "torch": lambda leaf: torch.tensor(leaf.copy()),
    "jax": jax.numpy.asarray,
    "half": lambda leaf: torch.tensor(leaf.copy(), dtype=torch.bfloat16 if leaf.dtype.kind == "f" else None),
}


@pytest.fixture(params=LIBRARIES)
def made(request):
    """Make a batch of arrays of NumPy's one of another library."""
    of = LIBRARIES[request.param]
    return lambda content: map_leaves(lambda leaf: of(leaf) if isinstance(leaf, np.ndarray) else leaf, content)


def masks_of(content, rule=None):
    return Masks(content, 4, rule, input_sequences(content, 4))


def is_mask(found):
    return type(found) is np.ndarray and found.dtype == bool


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        ("attention_mask", KEEP.astype("i8")),
        ("attention_mask", KEEP),
        ("attention_mask", ADDED),
        ("attention_mask", KEEP.astype("f4")),
        ("src_key_padding_mask", ~KEEP),
    ],
    ids=["whole", "bool", "added", "float", "padding"],
)
def test_masks_of_the_batch(made, name, mask):
    masks = masks_of(made({"input_ids": IDS, name: mask}))
    for found in (masks.of("layer", 6), masks.for_function("layer", 6)):
        assert is_mask(found)
        np.testing.assert_array_equal(found, KEEP)
    assert masks.pads("layer", (6, 6))
    assert masks_of(made({"input_ids": IDS, "attention_mask": np.ones((4, 6))})).of("layer", 6) is None


@pytest.mark.parametrize("of", LIBRARIES.values(), ids=LIBRARIES)
@pytest.mark.parametrize("rule", ["kept", "function", "list"])
def test_rules_may_give_arrays_of_any_library(made, rule, of):
    rules = {"kept": "kept", "function": lambda batch: of(KEEP), "list": lambda batch: KEEP.tolist()}
    masks = masks_of(made({"x": X, "kept": KEEP.astype("i4")}), rules[rule])
    for found in (masks.of("layer", 6), masks.for_function("layer", None), masks.own("layer", of(KEEP), 6)):
        assert is_mask(found)
        np.testing.assert_array_equal(found, KEEP)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([[True], [True, False]], "got a list"),
        (np.ones((3, 6)), r"of the 4 examples whether it is padding, got shape \(3, 6\)"),
        (np.full((4, 6), 2), "nothing but 0 and 1, .* got 2"),
        (np.full((4, 6), None), "got a ndarray"),
        ("text", "got a str"),
    ],
    ids=["ragged", "rows", "values", "objects", "text"],
)
def test_rules_that_give_no_mask_are_refused(given, told):
    with pytest.raises(AmbiguousMaskError, match=told):
        masks_of({"x": X}, lambda batch: given).of("layer", 6)
    if told != "got a str":
        with pytest.raises(AmbiguousMaskError, match=told):
            masks_of({"x": X}).own("layer", given, 6)


def test_a_mask_of_its_own_must_fit(made):
    masks = masks_of(made({"x": X}))
    assert masks.own("layer", np.ones((4, 6)), 6) is None
    with pytest.raises(AmbiguousMaskError, match="has 5 positions, but the mask of layer 'layer' has shape"):
        masks.own("layer", KEEP, 5)
    with pytest.raises(
        ValueError,
        match="the mask of layer 'layer' must keep a position of every example, got none in row 2 of the data",
    ):
        masks.own("layer", KEEP * (np.arange(4) != 2)[:, None], 6)


def test_what_could_be_a_mask_is_asked_about(made):
    for odd, told in (
        (KEEP, "batch\\['kept'\\] != 0"),
        (ADDED, "added to attention scores"),
        (KEEP[:, None], "reshape"),
    ):
        with pytest.raises(AmbiguousMaskError, match=told):
            masks_of(made({"x": X, "kept": odd})).of("layer", 6)
    square = np.tril(np.ones((4, 4)))
    assert masks_of(made({"x": X[:, :4], "attn_mask": square})).of("layer", 4) is None
    assert masks_of(made({"x": X, "labels": KEEP.astype("i8")})).of("layer", 6) is None


def test_padded_maps_and_labels_are_refused(made):
    pixels, padded = np.zeros((4, 3, 8, 8)), np.ones((4, 8, 8), dtype=int)
    masks_of(made({"pixel_values": pixels, "pixel_mask": padded})).check_maps("layer")
    padded = padded * (np.arange(8) < 6)
    with pytest.raises(AmbiguousMaskError, match="pixel_mask says are padded"):
        masks_of(made({"pixel_values": pixels, "pixel_mask": padded})).check_maps("layer")
    labels = np.where(KEEP, IDS, -100)
    content = made({"input_ids": IDS, "attention_mask": KEEP[:, ::-1].astype(int), "labels": labels})
    masks = Masks(content, 4, None, input_sequences(content, 4), {"layer": frozenset({1})})
    with pytest.raises(AmbiguousMaskError, match="labels that hold padding"):
        masks.of("layer", 6)
    items = made([{"x": X[i], "attention_mask": KEEP[i]} for i in range(4)])
    with pytest.raises(AmbiguousMaskError, match="of each example says"):
        Masks(items, 4, None, ()).of("layer", 6)


PADDED = {
    "ids": (
        {"ids": np.where(KEEP, IDS, 0)},
        "rows of batch['ids'] end in runs of 0",
        "lambda batch: batch['ids'] != 0",
    ),
    "before": (
        {"ids": np.where(KEEP, IDS, 1)[:, ::-1]},
        "rows of batch['ids'] begin in runs of 1",
        "lambda batch: batch['ids'] != 1",
    ),
    "features": (
        {"x": X * KEEP[:, :, None]},
        "rows of batch['x'] end in zeros",
        "lambda batch: (batch['x'] != 0).any(-1)",
    ),
    "features before": (
        (X[:, ::-1] * KEEP[:, ::-1, None],),
        "rows of batch[0] begin in zeros",
        "lambda batch: (batch[0] != 0).any(-1)",
    ),
    "lengths": ({"x": X, "lengths": LENGTHS}, "batch['lengths'] says that rows are shorter", None),
    "lengths as floats": ({"x": X, "num_steps": LENGTHS[:, None] * 1.0}, "batch['num_steps'] says", None),
}


@pytest.mark.parametrize("kind", PADDED)
def test_suspected_padding_is_found_and_the_remedy_says_it(made, kind):
    content, reason, remedy = PADDED[kind]
    batch = made(content)
    (found,) = suspected_padding_in(batch, 4)
    assert found.reason.startswith(reason)
    assert is_mask(found.keep)
    np.testing.assert_array_equal(found.keep, KEEP[:, ::-1] if "begin" in reason else KEEP)
    assert remedy in (None, found.remedy)
    said = masks_of(batch, eval(found.remedy, {"torch": torch, "numpy": np})).of("layer", 6)
    np.testing.assert_array_equal(said, found.keep)


def test_sounds_are_padded_about_there(made):
    sound = np.random.default_rng(2).normal(size=(4, 24)) * (np.arange(24) < 4 * LENGTHS[:, None])
    (found,) = suspected_padding_in(made({"sound": sound}), 4)
    np.testing.assert_array_equal(found.of(6), KEEP)
    assert found.fits(6)


@pytest.mark.parametrize(
    "content",
    [
        {"x": X},
        {"ids": IDS},
        {"x": X * (np.arange(6) < 3)[:, None]},  # as long as each other
        {"x": X * KEEP[:, :, None] * KEEP[:, ::-1, None]},
        {"pixels": np.zeros((4, 3, 8, 8))},
        {"x": X, "lengths": LENGTHS + 0.5},
        {"x": X, "lengths": np.where(LENGTHS == 3, np.inf, LENGTHS)},
        {"x": X, "labels": LENGTHS},
    ],
    ids=["features", "ids", "equal", "both ends", "maps", "broken", "endless", "labels"],
)
def test_nothing_is_suspected_where_there_is_no_padding(made, content):
    assert suspected_padding_in(made(content), 4) == []


class Far:
    """An array whose numbers must not be asked for."""

    dtype, ndim = np.dtype("f4"), 3

    def __init__(self, *shape):
        self.shape, self.ndim = shape, len(shape)

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, index):
        return np.ones((self.shape[0], *self.shape[2:])) if isinstance(index, tuple) else NotImplemented

    def __array__(self, *_, **__):
        raise AssertionError("copied to the host")


def test_numbers_are_read_only_where_the_shape_fits():
    images = Far(4, 3, 8, 8)
    assert reach_of(images, "images", 4, 6, of_scores=False) is None
    assert masks_of({"images": images, "features": Far(4, 7, 3)}).of("layer", 6) is None
    assert suspected_padding_in({"images": images, "features": Far(4, 7, 3)}, 4) == []


def test_numbers_are_read_once_for_all_layers():
    class Counts(Far):
        count = 0

        def __array__(self, *_, **__):
            Counts.count += 1
            return X[:, :, 0]

    masks = masks_of({"x": X, "kept": Counts(4, 6)})
    assert all(masks.of(f"layer {i}", 6) is None for i in range(3))
    assert Counts.count == 1


def test_inputs_belong_together_whatever_they_are_of(made):
    content = {
        "input_ids": IDS,
        "attention_mask": KEEP,
        "token_type_ids": IDS * 0,
        "features": X,
        "decoder_input_ids": IDS[:, :4],
        "decoder_attention_mask": KEEP[:, :4],
        "name": "a",
    }
    expected = input_sequences(content, 4)
    assert [(one.inputs, one.mask) for one in expected] == [
        (("decoder_input_ids",), "decoder_attention_mask"),
        (("input_ids", "token_type_ids"), "attention_mask"),
        (("features",), None),
    ]
    assert input_sequences(made(content), 4) == expected
    assert masks_of(made(content)).library is not None
