"""Extraction over several batches: what one big batch gives, whatever the batches are, or a word on what is left out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import homolog as hl


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def dense():
    return nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))


class Beside(nn.Module):
    """A layer that does something odd in some batches, beside an ordinary one; `number` counts the examples so far."""

    def __init__(self, odd):
        super().__init__()
        self.line, self.other, self.odd = nn.Linear(6, 4), nn.Identity(), odd

    def forward(self, x):
        self.odd(self.other, x)
        return self.line(x)


def marked(*marks, size=4):
    """Batches whose first feature is 0, or as they are marked."""
    batches = [torch.randn(size, 6) for _ in marks]
    for batch, mark in zip(batches, marks, strict=True):
        batch[:, 0] = mark
    return batches


def is_marked(x):
    return bool((x[:, 0] == 1).any())


FAILS_LATER = {
    "another shape": (lambda layer, x: layer(x[:1] if is_marked(x) else x), r"other \(shape \(1, 6\)\)"),
    "no numbers": (lambda layer, x: layer(x > 0 if is_marked(x) else x), r"other \(bool values\)"),
    "mixes the examples": (
        lambda layer, x: layer(x - x.mean(0) if is_marked(x) else x),
        r"other \(its rows change with the other examples of the batch\)",
    ),
    "does not run": (
        lambda layer, x: None if is_marked(x) else layer(x),
        r"other \(ran 1 time before, 0 times in batch \d\)",
    ),
    "runs twice": (
        lambda layer, x: (layer(x), layer(x) if is_marked(x) else None),
        r"other#2 \(ran in a later batch, not in the first\), other \(ran 1 time before, 2 times in batch \d\)",
    ),
    "wider": (
        lambda layer, x: layer(x if is_marked(x) else x[:, :3]),
        r"other \(3 features before, 6 in batch \d\)",
    ),
}


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize("kind", FAILS_LATER)
def test_what_fails_in_a_later_batch_is_left_out_of_all_or_refused_by_name(kind, at, stored, tmp_path):
    odd, told = FAILS_LATER[kind]
    model, data = Beside(odd), marked(*(int(i == at) for i in range(6)))
    out = {"out": tmp_path / "a.zarr"} if stored else {}
    with pytest.warns(hl.ExtractionWarning, match=f"left out.*{told}") as caught:
        taken = hl.extract(model, data, **out)
    assert len(caught) == 1
    assert list(taken) == ["line"]
    with torch.no_grad():
        np.testing.assert_allclose(taken["line"], model.line(torch.cat(data)).numpy(), atol=1e-6)
    assert list(hl.extract(model, data[:at])) == ["other", "line"]  # without a warning
    with pytest.warns(hl.ExtractionWarning, match="left out.*other"):
        assert list(hl.extract(model, data, layers=["line", "o*"])) == ["line"]
    with pytest.raises((ValueError, KeyError), match="layer 'other'"):
        hl.extract(model, data, layers=["line", "other"])


def test_a_layer_that_is_not_in_the_first_batch_is_left_out():
    model = Beside(lambda layer, x: layer(x) if is_marked(x) else None)
    with pytest.warns(hl.ExtractionWarning, match=r"left out.*other \(ran in a later batch, not in the first\)"):
        assert list(hl.extract(model, marked(0, 1, 0, 1))) == ["line"]


def test_a_layer_left_out_of_stored_rows_stays_left_out_when_they_are_continued(tmp_path):
    model, data = Beside(FAILS_LATER["another shape"][0]), marked(0, 1, 0, 0, 0, size=600)
    options = {"out": tmp_path / "a.zarr", "resume": True}
    with pytest.warns(hl.ExtractionWarning, match="left out.*other"):
        hl.extract(model, data, max_examples=2400, **options)
    with pytest.warns(hl.ExtractionWarning, match=r"left out.*other \(left out of the rows that are stored\)"):
        taken = hl.extract(model, data, max_examples=3000, **options)
    with torch.no_grad():
        np.testing.assert_allclose(np.asarray(taken["line"]), model.line(torch.cat(data)).numpy(), atol=1e-6)
    # What stands in the store, and shows later that it is none of examples, goes too.
    options["out"] = tmp_path / "b.zarr"
    hl.extract(model, data, max_examples=600, **options)
    with pytest.warns(hl.ExtractionWarning, match=r"left out.*other \(shape \(1, 6\)\)"):
        assert list(hl.extract(model, data, max_examples=3000, **options)) == ["line"]
    assert list(hl.open(options["out"])) == ["line"]


@pytest.mark.parametrize("exact", [False, True])
def test_two_models_are_compared_by_the_layers_that_no_batch_contradicts(exact):
    model, data = Beside(FAILS_LATER["another shape"][0]), marked(0, 0, 1, 0, size=8)
    other, options = dense(), {"exact": exact, "measures": "cka(estimator=debiased)"}
    with pytest.warns(hl.ExtractionWarning, match="left out.*other"):
        result = hl.compare_models(other, model, data, **options)
    expected = hl.compare_models(other, model, data, layers_b=["line"], **options)
    assert list(result.layer_b.values) == ["line"]
    for name in expected.data_vars:
        np.testing.assert_allclose(result[name], expected[name], atol=1e-9)


def test_layers_that_change_places_are_not_exchanged():
    class Either(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(6, 5), nn.Linear(6, 5)

        def forward(self, x):
            parts = [self.one, self.two]
            return [part(x) for part in (parts[::-1] if is_marked(x) else parts)]

    model, data = Either(), marked(0, 1, 1, size=8)
    with torch.no_grad():
        x = torch.cat(data)
        expected = {"one": model.one(x).numpy(), "two": model.two(x).numpy()}
    taken = hl.extract(model, data)
    for name, rows in expected.items():
        np.testing.assert_allclose(taken[name], rows, atol=1e-6)
    options = {"exact": False, "measures": "hsic(estimator=debiased)"}
    result = hl.compare_models(model, model, data, **options)
    state = hl.MinibatchHSIC()
    for start in (0, 8, 16):
        state.update({name: rows[start : start + 8] for name, rows in expected.items()})
    same = state.finalise("hsic(estimator=debiased)")
    name = "hsic(estimator=debiased)"
    np.testing.assert_allclose(result[name], same[name], rtol=1e-4)


class Reader:
    """Batches that can be read only once, by a generator."""

    def __init__(self, rows, size):
        self.rows, self.size = rows, size

    def __iter__(self):
        return (self.rows[i : i + self.size] for i in range(0, len(self.rows), self.size))


FORMS = {
    "tensor": lambda x, size: x,
    "array": lambda x, size: x.numpy(),
    "generator": lambda x, size: iter(Reader(x, size)),
    "reader": Reader,
    "loader": lambda x, size: torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), size),
    "uneven": lambda x, size: list(x.split([size - 3, 1, len(x) - size + 1, 1])),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("rows", "size"), [(13, 6), (13, 4), (6, 6), (7, 4)])
def test_batches_of_any_sizes_give_what_one_gives(form, rows, size, tmp_path):
    model, x = dense(), torch.randn(rows, 6)
    whole = hl.extract(model, x, batch_size=rows)
    for out in ({}, {"out": tmp_path / "a.zarr"}):
        taken = hl.extract(model, FORMS[form](x, size), batch_size=size, **out)
        assert list(taken) == ["0", "1", "2"]
        for name, layer in whole.items():
            np.testing.assert_allclose(taken[name], layer, atol=1e-6)
        np.testing.assert_array_equal(taken.digests, whole.digests)


def test_a_loader_that_drops_its_last_batch():
    model, x = dense(), torch.randn(13, 6)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), 6, drop_last=True)
    taken = hl.extract(model, loader)
    np.testing.assert_allclose(taken["2"], hl.extract(model, x[:12])["2"], atol=1e-6)


class Sequences(nn.Module):
    """Token by token, with attention between them; the tables of positions and distances hold no examples."""

    def __init__(self, longest):
        super().__init__()
        self.words, self.places = nn.Embedding(30, 8), nn.Embedding(longest, 8)
        self.near, self.attend = nn.Identity(), nn.MultiheadAttention(8, 2, batch_first=True)
        self.read = nn.Linear(8, 5)

    def forward(self, input_ids, attention_mask):
        place = torch.arange(input_ids.shape[1])
        self.near((place[:, None] - place).float()[:, :, None])
        x = self.words(input_ids) + self.places(place)
        return self.read(self.attend(x, x, x, key_padding_mask=attention_mask == 0)[0])


@pytest.mark.parametrize("reduce", ["mean", "first", "last", "positions"])
@pytest.mark.parametrize("size", [1, 3, 5])  # of which some are as long as their batch
def test_every_batch_is_padded_to_its_own_length(size, reduce):
    model, lengths = Sequences(9).eval(), [3, 2, 3, 5, 4, 5, 1, 2, 3, 5, 4, 1, 9]
    texts = [torch.randint(1, 30, (length,)) for length in lengths]

    def padded(part):
        ids = nn.utils.rnn.pad_sequence(part, batch_first=True)
        return {"input_ids": ids, "attention_mask": (ids > 0).long()}

    batches = [padded(texts[i : i + size]) for i in range(0, len(texts), size)]
    with pytest.warns(hl.ExtractionWarning, match=r"left out.*near \(.*\), places \("):
        taken = hl.extract(model, batches, reduce=reduce)
    with pytest.warns(hl.ExtractionWarning, match="left out"):
        whole = hl.extract(model, [padded(texts)], reduce=reduce)
    assert list(taken) == list(whole) == ["words", "attend", "read"]
    for name, layer in whole.items():
        np.testing.assert_allclose(taken[name], layer, atol=1e-5)


def test_single_examples_are_tried_beside_the_one_before():
    class Mixing(nn.Module):
        def __init__(self):
            super().__init__()
            self.line, self.mix = nn.Linear(6, 4), nn.MultiheadAttention(4, 1)

        def forward(self, x):
            x = self.line(x)
            return self.mix(x, x, x)[0]  # takes the examples for the steps of a sequence

    x = torch.randn(5, 3, 6)
    with pytest.warns(hl.ExtractionWarning, match=r"mix \(its rows change with the other examples"):
        assert list(hl.extract(Mixing(), x, batch_size=1, reduce="mean")) == ["line"]
    batches = [(row[None], [f"text {i}"], {"row": row[None]}) for i, row in enumerate(x)]
    with pytest.raises(ValueError, match="layer 'mix' must have the examples"):
        hl.extract(Mixing(), batches, layers="mix", forward=lambda m, b: m(b[0] + b[2]["row"]), reduce="mean")
    uneven = [x[:1], x[1:2, :2], x[2:3, :1]]  # of which no two are of one shape
    assert hl.extract(Mixing(), uneven, layers="line", reduce="mean")["line"].shape == (3, 4)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("size", [2, 3, 5])
def test_sorted_examples_are_seen_whichever_way_they_lay(size, descending):
    class Sorted(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.line = nn.Identity(), nn.Linear(3, 2)

        def forward(self, x):
            self.inner(x[x[:, 0].argsort()])
            return self.line(x)

    x = torch.randn(size, 3)
    x = x[x[:, 0].argsort(descending=descending)]
    with pytest.warns(hl.ExtractionWarning, match=r"inner \(its rows change with the other examples"):
        assert list(hl.extract(Sorted(), x)) == ["line"]
