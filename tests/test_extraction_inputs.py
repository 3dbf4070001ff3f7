"""Data and batches of odd kinds: taken where they can be, and one sentence, whose remedy works, where not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import scipy.sparse
import torch
from torch import nn
from torch.masked import masked_tensor

import homolog as hl

pytestmark = [
    pytest.mark.filterwarnings("ignore:(Sparse|The PyTorch API of|torch.quantize_per_tensor):UserWarning"),  # PyTorch's
]


def quantised():
    return torch.quantize_per_tensor(X, 0.1, 0, torch.quint8)


def masked():
    return masked_tensor(X, X > 0.2)


def line():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4))


X = torch.rand(6, 3, generator=torch.Generator().manual_seed(1))
LENGTHS = [2, 4, 1]
ROWS = [torch.rand(length, 3, generator=torch.Generator().manual_seed(length)) for length in LENGTHS]
HOW = {
    "batch": lambda one: ([one], None),
    "mapping": lambda one: ([{"input": one}], None),
    "forward": lambda one: ([(0, one)], lambda model, batch: model(batch[1])),
}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("layout", ["sparse_coo", "sparse_csr", "sparse_csc"])
def test_sparse_batches_are_taken(layout, how):
    data, forward = HOW[how](X.to_sparse(layout=getattr(torch, layout)))
    taken = hl.extract(line(), data, forward=forward)
    np.testing.assert_allclose(taken["0"], hl.extract(line(), X)["0"], atol=1e-6)
    np.testing.assert_array_equal(hl.extract(line(), [data[0]] * 2, forward=forward).digests[:6], taken.digests)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("layout", [torch.jagged, torch.strided])
@pytest.mark.parametrize("reduce", ["mean", "last"])
def test_nested_batches_are_padded_with_their_own_mask(layout, how, reduce):
    data, forward = HOW[how](torch.nested.nested_tensor(ROWS, layout=layout))
    model = line()
    taken = hl.extract(model, data, forward=forward, reduce=reduce, layers="0")["0"]
    with torch.no_grad():
        alone = [model(row).mean(0) if reduce == "mean" else model(row)[-1] for row in ROWS]
    np.testing.assert_allclose(taken, torch.stack(alone).numpy(), atol=1e-6)


@pytest.mark.parametrize("how", ["data", "batch", "mapping"])
def test_quantised_and_small_floats_are_what_they_stand_for(how):
    for odd, plain in ((quantised(), quantised().dequantize()), (X.to(torch.float8_e4m3fn),) * 2):
        data, _ = (odd, None) if how == "data" else HOW[how](odd)
        expected = hl.extract(line(), plain.float())["0"]
        np.testing.assert_allclose(hl.extract(line(), data)["0"], expected, atol=1e-6)


REFUSED = {
    "sparse": (X.to_sparse, "data must be dense, .* convert it with .to_dense", lambda d: d.to_dense()),
    "nested": (
        lambda: torch.nested.nested_tensor(ROWS, layout=torch.jagged),
        r"data must be dense, got a nested tensor: pass it as one batch, \[data\]",
        lambda d: [d],
    ),
    "masked": (masked, "MaskedTensor, .* its numbers, .get_data", lambda d: d.get_data()),
    "masked, filled": (masked, "fill it, .to_tensor", lambda d: d.to_tensor(0.0)),
    "masked array": (
        lambda: np.ma.array(X.numpy(), mask=X.numpy() < 0.2),
        "a masked array.* fill it",
        lambda d: d.filled(0.0),
    ),
    "scipy": (
        lambda: scipy.sparse.csr_array(X.numpy()),
        "csr_array: a sparse matrix is made dense",
        lambda d: d.toarray(),
    ),
    "meta": (
        lambda: X.to("meta"),
        "a tensor on the meta device, which has none",
        lambda d: torch.zeros_like(d, device="cpu"),
    ),
    "numbers": (X.tolist, "a list of numbers: convert it, torch.tensor", torch.tensor),
    "mapping of numbers": (
        lambda: {"input": X.tolist()},
        r"lists of numbers under input: .* return_tensors=\"pt\"",
        None,
    ),
    "complex": (lambda: torch.complex(X, X), "got complex numbers .*: pass torch.view_as_real", lambda d: d.abs()),
}


@pytest.mark.filterwarnings("ignore:.*left out:homolog.ExtractionWarning")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_the_data_is_told_and_the_remedy_works(kind):
    make, told, remedy = REFUSED[kind]
    data = make()
    with pytest.raises((TypeError, ValueError), match=told):
        hl.extract(line(), data)
    if kind not in ("sparse", "nested"):  # which can be batches
        for how in HOW.values():
            batches, forward = how(data)
            if forward is None or not kind.endswith("numbers"):
                with pytest.raises((TypeError, ValueError)):
                    hl.extract(line(), batches, forward=forward)
    mended = {"input": torch.tensor(data["input"])} if remedy is None else remedy(data)
    assert hl.extract(line(), mended, layers="0", reduce="mean").n == (3 if kind == "nested" else 6)


def test_a_kind_that_the_model_does_not_take_is_named():
    forward = HOW["forward"](None)[1]
    with pytest.raises(TypeError, match=r"batch 2 must be what the model takes, got a quantised tensor \(.*dequantize"):
        hl.extract(line(), [(0, X), (0, quantised())], forward=forward)
    with pytest.raises(RuntimeError) as caught:
        hl.extract(line(), [(0, X), (0, X.long())], forward=forward)
    assert caught.value.__notes__ == ["while running the model on batch 2 (first tensor of shape (6, 3), int64)"]


def test_texts_that_the_tokenizer_left_as_lists():
    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(9, 4)

        def forward(self, input_ids, attention_mask=None):
            return self.words(input_ids)

    ids = {"input_ids": [[1, 2, 3], [4, 5]], "attention_mask": [[1, 1, 1], [1, 1]]}
    for data in (ids, [ids], [{"input_ids": [1, 2, 3]}], [{**ids, "input_ids": torch.ones(2, 3, dtype=torch.long)}]):
        with pytest.raises(
            TypeError, match=r"lists of numbers under .*: let the tokenizer make tensors, tokenizer\(texts"
        ):
            hl.extract(Reads(), data)
    texts = {"input_ids": torch.tensor([[1, 2], [3, 4]]), "names": ["a", "b"]}
    reads = Reads()
    assert hl.extract(reads, [texts], forward=lambda m, b: m(b["input_ids"]))["words"].shape == (2, 8)


def test_sequences_one_by_one_are_put_together():
    model = line()
    with pytest.raises(TypeError, match=r"model\(torch.nn.utils.rnn.pad_sequence\(batch, batch_first=True\)\)"):
        hl.extract(model, [ROWS])
    taken = hl.extract(
        model,
        [ROWS],
        forward=lambda model, batch: model(nn.utils.rnn.pad_sequence(batch, batch_first=True)),
        mask=lambda batch: (
            torch.arange(max(map(len, batch)))[None] < torch.tensor([len(row) for row in batch])[:, None]
        ),
        reduce="mean",
    )
    expected = torch.stack([model(row).mean(0) for row in ROWS]).detach().numpy()
    np.testing.assert_allclose(taken["0"], expected, atol=1e-6)


def test_truth_values_of_the_input_are_0_and_1(tmp_path):
    reads = nn.Sequential(nn.Linear(3, 2))
    for out in ({}, {"out": tmp_path / "a.zarr"}):
        taken = hl.extract(
            reads, X > 0.5, layers=["input", "0"], forward=lambda m, b: m(b.float()), batch_size=4, **out
        )
        np.testing.assert_array_equal(taken["input"], (X > 0.5).numpy())


class Beside(nn.Module):
    """Puts out something odd beside an ordinary layer."""

    def __init__(self, make):
        super().__init__()
        self.line, self.odd, self.make = nn.Linear(3, 4), nn.Identity(), make

    def forward(self, x):
        self.odd(self.make(x))
        return self.line(x)


LEFT_OUT = {
    "masked": (lambda x: masked_tensor(x, x > 0.2), "no tensor, but a MaskedTensor"),
    "on no device": (lambda x: x.to("meta"), "no numbers, on the meta device"),
    "complex, conjugated": (lambda x: torch.complex(x, x).conj(), "complex64 values"),
    "sparse whole numbers": (lambda x: (9 * x).long().to_sparse(), "int64 values"),
    "nested whole numbers": (
        lambda x: torch.nested.nested_tensor([(9 * row).long() for row in x]),
        "int64 values",
    ),
}


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_odd_outputs_are_left_out_or_refused_by_name(kind):
    make, told = LEFT_OUT[kind]
    with pytest.warns(hl.ExtractionWarning, match=rf"left out.*odd \({told}\)"):
        assert list(hl.extract(Beside(make), X)) == ["line"]
    with pytest.raises(ValueError, match=f"'odd' must put out a floating tensor of at least two axes, got {told}"):
        hl.extract(Beside(make), X, layers=["line", "odd"])


def test_a_reduction_of_ones_own_is_given_the_masked_tensor():
    model = Beside(lambda x: masked_tensor(x, x > 0.2))
    taken = hl.extract(model, X, layers="odd", reduce=lambda output, mask: output.to_tensor(0.0))["odd"]
    np.testing.assert_allclose(taken, torch.where(X > 0.2, X, 0.0).numpy())
    with pytest.raises(ValueError, match=r"reduce must return a tensor .* got MaskedTensor"):
        hl.extract(model, X, layers="odd", reduce=lambda output, mask: output)
    with pytest.raises(ZeroDivisionError) as caught:
        hl.extract(model, X, layers="odd", reduce=lambda output, mask: 1 / 0)
    assert "while reduce was given the output of layer 'odd', MaskedTensor of shape (6, 3)" in caught.value.__notes__


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def dense():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


class Denoiser(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(3, 4)

    def forward(self, sample, timestep, table=None):
        return self.line(sample) + timestep


@pytest.mark.parametrize("step", [torch.tensor(10), torch.tensor([10]), 10, 10.0])
@pytest.mark.parametrize("batched", [True, False])
def test_scalars_of_a_mapping_belong_to_all_examples(step, batched):
    data = {"timestep": step, "sample": torch.randn(6, 3)}
    taken = hl.extract(Denoiser(), [data] if batched else data, layers=["line", "input"], batch_size=4)
    assert taken["line"].shape == (6, 4)
    np.testing.assert_array_equal(taken["input"], data["sample"])
    later = hl.extract(Denoiser(), {**data, "timestep": 11}, batch_size=4)
    assert not set(taken.digests) & set(later.digests)


@pytest.mark.filterwarnings("ignore:no standard errors:homolog.UndefinedValueWarning")
def test_a_mapping_whose_entries_disagree_is_one_batch():
    class Nodes(nn.Module):
        def __init__(self):
            super().__init__()
            self.lift = nn.Linear(3, 5)

        def forward(self, edges, x):
            assert len(x) == 90
            return self.lift(x)

    graph = {"edges": torch.randint(0, 90, (2, 200)), "x": torch.randn(90, 3)}
    assert hl.extract(Nodes(), graph, batch_size=16)["lift"].shape == (90, 5)
    result = hl.compare_models(Nodes(), Nodes(), graph, batch_size=16)
    assert dict(result.sizes) == {"layer_a": 1, "layer_b": 1}


@dataclass
class Record:
    pictures: torch.Tensor
    labels: torch.Tensor


class Own:
    def __init__(self, x):
        self.x = x


def test_batches_of_ones_own_classes():
    x = torch.randn(6, 3)
    model = dense()
    expected = hl.extract(model, x)
    for wrap in (lambda x: Record(x, torch.arange(len(x))), Own):
        name = "x" if wrap is Own else "pictures"
        taken = hl.extract(
            model, [wrap(x[:4]), wrap(x[4:])], forward=lambda model, batch, name=name: model(getattr(batch, name))
        )
        np.testing.assert_allclose(taken["2"], expected["2"], atol=1e-6)

    class Sealed:
        __slots__ = ("rows",)

    with pytest.raises(
        TypeError, match=r"a batch for a function must hold a tensor or a list .* got a Sealed in which none"
    ):
        hl.extract(model, [Sealed()], forward=lambda model, batch: model(batch.rows))


def test_empty_batches_and_other_byte_orders():
    x = torch.randn(6, 3)
    with pytest.raises(
        ValueError, match=r"at least one example, got a tensor of shape \(0, 3\): leave empty batches out"
    ):
        hl.extract(dense(), [x, x[:0]])
    model = dense()
    swapped = hl.extract(model, x.numpy().astype(">f4"))
    np.testing.assert_array_equal(swapped["2"], hl.extract(model, x)["2"])
    np.testing.assert_array_equal(swapped.digests, hl.extract(model, x).digests)
    with pytest.raises(TypeError, match="arrays of at most 64 bits"):
        hl.extract(model, [x.numpy().astype(np.longdouble)])


def pictures(count=6):
    return [torch.randn(3, 9, 9, generator=torch.Generator().manual_seed(i)) for i in range(count)]


def test_lists_of_images_are_one_example_each():
    model = nn.Sequential(nn.Conv2d(3, 2, 3))
    stacked = hl.extract(model, torch.stack(pictures()))

    def forward(model, batch):
        return model(torch.stack(batch))

    taken = hl.extract(model, [pictures()[:5], pictures()[5:]], forward=forward)
    np.testing.assert_allclose(taken["0"], stacked["0"], atol=1e-6)
    turned = hl.extract(model, [pictures()[::-1]], forward=forward)
    with pytest.raises(ValueError, match="the same inputs in another order"):
        hl.compare(taken, turned)
    with pytest.raises(TypeError, match="got a list of 6 that look like one example each"):
        hl.extract(model, [pictures()])


def test_everything_that_reaches_the_model_is_digested():
    x, y = torch.randn(6, 3), torch.randn(6, 3)

    def forward(model, batch):
        return model(batch[0] + batch[1])

    first = hl.extract(dense(), [(x, y)], forward=forward)
    second = hl.extract(dense(), [(x, y.flip(0))], forward=forward)
    assert not set(first.digests) & set(second.digests)
    np.testing.assert_array_equal(hl.extract(dense(), [(x, y)]).digests, hl.extract(dense(), x).digests)
    texts = [f"text {i}" for i in range(6)]

    def embed(model, batch):
        return model(torch.stack([torch.full((3,), float(text[5:])) for text in batch]))

    taken, turned = (hl.extract(dense(), [batch], forward=embed) for batch in (texts, texts[::-1]))
    assert taken.digests.tolist() == turned.digests.tolist()[::-1]


def test_lists_of_images_go_through_two_models():
    models = [nn.Sequential(nn.Conv2d(3, width, 3)) for width in (2, 4)]
    batches = [pictures(24)[i : i + 6] for i in (0, 6, 12)] + [pictures(24)[18:21], pictures(24)[21:]]

    def forward(model, batch):
        return model(torch.stack(batch))

    result = hl.compare_models(
        *models, batches[:3], forward_a=forward, forward_b=forward, exact=True, measures="cka(estimator=debiased)"
    )
    a, b = (hl.extract(model, torch.stack(pictures(18))) for model in models)
    expected = hl.compare(a, b, measures=("cka(estimator=debiased)",))["cka(estimator=debiased)"]
    np.testing.assert_allclose(result["cka(estimator=debiased)"], expected, atol=1e-6)
    joined = hl.compare_models(*models, batches[:4], forward_a=forward, forward_b=forward)  # three join the six before
    assert np.isfinite(joined["cka(estimator=debiased)"]).all()


def test_inputs_and_targets_of_one_kind_are_no_examples():
    x = torch.randn(6, 3)
    model = dense()
    batch = [{"x": x}, {"y": torch.arange(6)}]
    taken = hl.extract(model, [batch], forward=lambda model, batch: model(batch[0]["x"]))
    np.testing.assert_array_equal(taken["2"], hl.extract(model, x)["2"])
    items = [{"x": row} for row in x]
    one_by_one = hl.extract(
        model, [items], forward=lambda model, batch: model(torch.stack([item["x"] for item in batch]))
    )
    np.testing.assert_array_equal(one_by_one["2"], taken["2"])
    pairs = [(row, i) for i, row in enumerate(x)]
    of_pairs = hl.extract(model, [pairs], forward=lambda model, batch: model(torch.stack([row for row, _ in batch])))
    np.testing.assert_array_equal(of_pairs["2"], taken["2"])
    with pytest.raises(TypeError, match=r"got a list of 6 that look like one example each \(the first a dict\)"):
        hl.extract(model, [items])
