"""Extraction from modules, batches and outputs of odd kinds: taken where they can be, and a sentence where not."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import homolog as hl


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def dense():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


class Holding(nn.Module):
    """A layer with weights of its own, and a child."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.scale = inner, nn.Parameter(torch.full((1,), 2.0))

    def forward(self, x):
        return self.scale * self.inner(x)


class Wrapped(nn.Module):
    """A linear layer with low-rank weights beside it, as fine-tuning libraries wrap them."""

    def __init__(self, base_layer):
        super().__init__()
        self.base_layer = base_layer
        self.lora_A, self.lora_B = nn.Linear(3, 1, bias=False), nn.Linear(1, 4, bias=False)

    def forward(self, x):
        return self.base_layer(x) + self.lora_B(self.lora_A(x))


WEIGHTED = {
    "weight_norm": (lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 4)), nn.ReLU()), ["0", "1"]),
    "spectral_norm": (lambda: nn.Sequential(parametrizations.spectral_norm(nn.Linear(3, 4)), nn.ReLU()), ["0", "1"]),
    "orthogonal": (
        lambda: nn.Sequential(parametrizations.orthogonal(nn.Linear(3, 4, bias=False)), nn.ReLU()),
        ["0", "1"],
    ),
    "own weights": (lambda: nn.Sequential(Holding(nn.Linear(3, 4)), nn.ReLU()), ["0.inner", "0", "1"]),
    "low rank": (
        lambda: nn.Sequential(Wrapped(nn.Linear(3, 4)), nn.ReLU()),
        ["0.base_layer", "0.lora_A", "0.lora_B", "0", "1"],
    ),
    "the model itself": (lambda: Holding(nn.Linear(3, 4)), ["inner", "output"]),
}


@pytest.mark.parametrize("kind", WEIGHTED)
def test_modules_that_own_weights_are_layers(kind):
    build, names = WEIGHTED[kind]
    model, x = build().eval(), torch.randn(6, 3)
    taken = hl.extract(model, x)
    assert list(taken) == names
    with torch.no_grad():
        last = model(x)
    np.testing.assert_allclose(taken[names[-1]], last.numpy(), atol=1e-6)


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")  # PyTorch's own
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@pytest.mark.filterwarnings(
    "ignore:.*depend on the other examples:homolog.ExtractionWarning"
)  # by rounding of the machine
def test_layers_quantised_at_run_time_are_layers():
    model, x = dense(), torch.randn(64, 3)
    quantised = torch.ao.quantization.quantize_dynamic(copy.deepcopy(model), {nn.Linear}, dtype=torch.qint8)
    with pytest.warns(hl.ExtractionWarning, match="0.*: values depend on the other examples of the batch"):
        hl.extract(quantised, torch.cat([x[:-1], 60 * x[-1:]]))
    taken = hl.extract(quantised, x)
    assert list(taken) == ["0", "1", "2"]
    np.testing.assert_allclose(taken["2"], hl.extract(model, x)["2"], atol=0.05)


def test_attention_is_a_layer_and_its_projection_is_part_of_it():
    model = nn.Sequential(nn.Linear(3, 8))
    model.attention = nn.MultiheadAttention(8, 2, batch_first=True)
    model.forward = lambda x: model.attention(*[model[0](x)] * 3)[0]
    assert list(hl.extract(model, torch.randn(6, 5, 3))) == ["0", "attention"]


def test_layers_with_weights_that_did_not_run_are_named():
    model = dense()
    model.unused = nn.Linear(2, 2)
    model.forward = lambda x: model[2](model[1](model[0](x)))
    with pytest.warns(hl.ExtractionWarning, match=r"left out.*unused \(did not run\)"):
        assert list(hl.extract(model, torch.randn(6, 3))) == ["0", "1", "2"]


class Odd(nn.Module):
    """Puts out something odd beside an ordinary layer."""

    def __init__(self, make):
        super().__init__()
        self.line, self.odd = nn.Linear(3, 4), self.Inner(make)

    class Inner(nn.Module):
        def __init__(self, make):
            super().__init__()
            self.make = make

        def forward(self, x):
            return self.make(x)

    def forward(self, x):
        self.odd(x)
        return self.line(x)


TAKEN = {
    "quantised": (lambda x: torch.quantize_per_tensor(x, 0.1, 9, torch.quint8), lambda x: (10 * x).round() / 10),
    "float8": (lambda x: x.to(torch.float8_e4m3fn), lambda x: x.to(torch.float8_e4m3fn).float()),
    "bfloat16": (lambda x: x.to(torch.bfloat16), lambda x: x.to(torch.bfloat16).float()),
    "sparse": (lambda x: x.relu().to_sparse(), torch.relu),
    "compressed rows": (lambda x: x.relu().to_sparse_csr(), torch.relu),
    "one axis": (lambda x: x.sum(1), lambda x: x.sum(1, keepdim=True)),
    "loss first": (lambda x: (x.sum(), 2 * x), lambda x: 2 * x),
}


@pytest.mark.filterwarnings("ignore:Sparse (CSR|invariant):UserWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")  # PyTorch's own
@pytest.mark.parametrize("kind", TAKEN)
def test_numbers_of_other_kinds_are_taken_as_what_they_stand_for(kind):
    make, expected = TAKEN[kind]
    x = torch.rand(6, 3) - 0.3
    taken = hl.extract(Odd(make), x)
    np.testing.assert_allclose(taken["odd"], expected(x).numpy(), atol=1e-5)
    assert taken["odd"].dtype == np.float32


LEFT_OUT = {
    "whole numbers": (lambda x: x.argsort(1), "int64 values"),
    "truth": (lambda x: x > 0, "bool values"),
    "complex": (torch.fft.fft, "complex64 values"),
    "no features": (lambda x: x[:, :0], r"no numbers, shape \(\d, 0\)"),
    "one number": (lambda x: x.sum(), r"a single number \(float32 values\)"),
    "no tensor": (lambda x: "text", "no tensor, but a str"),
    "distribution": (lambda x: torch.distributions.Normal(x, 1.0), "no tensor, but a Normal"),
}


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_what_cannot_be_taken_is_left_out_at_once_or_refused_by_name(kind, tmp_path):
    make, told = LEFT_OUT[kind]
    x = torch.randn(6, 3)
    with pytest.warns(hl.ExtractionWarning, match=rf"left out.*odd \({told}\)"):
        stored = hl.extract(Odd(make), x, out=tmp_path / "a.zarr", batch_size=3)
    assert list(stored) == ["line"]
    calls = []
    model = Odd(make)
    model.register_forward_hook(lambda *_: calls.append(1))
    with pytest.raises(ValueError, match="'odd' must put out a floating tensor of at least two axes, got"):
        hl.extract(model, x, layers=["line", "odd"], batch_size=3)
    assert not calls  # in the first batch


def test_sequences_of_unequal_lengths_are_padded_with_their_own_mask():
    lengths = [2, 4, 1]

    def nested(x):
        return torch.nested.nested_tensor([row[:n] for row, n in zip(x, lengths, strict=False)], layout=torch.jagged)

    x = torch.randn(3, 4, 3)
    taken = hl.extract(Odd(nested), [x], layers="odd", reduce="mean", axis=0)["odd"]
    np.testing.assert_allclose(taken, [row[:n].mean(0) for row, n in zip(x.numpy(), lengths, strict=True)], atol=1e-6)


@dataclass
class States:
    logits: torch.Tensor
    hidden: torch.Tensor


ASKED_FIRST = {
    "frames in the batch": (lambda x: x.repeat_interleave(4, 0), lambda output, mask: output.reshape(-1, 4, 3).mean(1)),
    "sequence first": (lambda x: x.expand(5, len(x), 3), lambda output, mask: output.mean(0)),
    "record": (lambda x: States(x.sum(1), x), lambda output, mask: output.hidden),
    "distribution": (lambda x: torch.distributions.Normal(x, 1.0), lambda output, mask: output.mean),
    "whole numbers": (lambda x: (1000 * x).long(), lambda output, mask: output / 1000),
    "complex": (lambda x: torch.complex(x, x), lambda output, mask: output.real),
}


@pytest.mark.parametrize("kind", ASKED_FIRST)
def test_a_reduction_of_ones_own_is_asked_before_anything_is_refused(kind):
    make, reduce = ASKED_FIRST[kind]
    x = torch.randn(6, 3)
    taken = hl.extract(Odd(make), x, layers="odd", reduce={"odd": reduce}, batch_size=3)["odd"]
    np.testing.assert_allclose(taken, x.numpy(), atol=1e-3)


def test_a_reduction_of_ones_own_must_follow_the_examples_too():
    x = torch.randn(6, 3)
    with pytest.raises(ValueError, match="its rows change with the other examples"):
        hl.extract(dense(), x, layers="0", reduce=lambda output, mask: output - output.mean(0))
    with pytest.raises(ValueError, match="reduce must return real numbers and at least one feature"):
        hl.extract(dense(), x, layers="0", reduce=lambda output, mask: output > 0)


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


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # PyTorch's own
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_models_that_cannot_be_heard_are_refused_with_what_to_do():
    x = torch.randn(6, 3)
    model = dense()
    scripted = torch.jit.trace(model, x)
    with pytest.raises(
        TypeError, match=r"TorchScript runs no hooks: pass the model that it was scripted or traced from"
    ):
        hl.extract(scripted, x)
    mixed = nn.Sequential(nn.Linear(3, 3), torch.jit.trace(nn.Linear(3, 2), x))
    with pytest.warns(hl.ExtractionWarning, match=r"left out.*1 \(TorchScript runs no hooks\)"):
        assert list(hl.extract(mixed, x)) == ["0"]
    with pytest.raises(TypeError, match="layer '1' must be run by Python"):
        hl.extract(mixed, x, layers=["0", "1"])
    assert not mixed[0]._forward_hooks
    program = torch.export.export(model, (x,))
    with pytest.raises(TypeError, match=r"got an exported program: pass torch.export.unflatten\(program\)"):
        hl.extract(program, x)
    np.testing.assert_allclose(
        hl.extract(torch.export.unflatten(program), x)["2"], hl.extract(model, x)["2"], atol=1e-6
    )
    away = dense()
    away[2].to("meta")
    with pytest.raises(
        ValueError, match=r"model must have its weights in memory, got 2 of 4 tensors on the meta device"
    ):
        hl.extract(away, x)


def test_hooks_are_taken_off_when_one_cannot_be_hung():
    class Deaf(nn.Module):
        def register_forward_hook(self, *args, **kwargs):
            raise RuntimeError("no hooks here")

        def forward(self, x):
            return x

    model = nn.Sequential(nn.Linear(3, 4), Deaf())
    with pytest.raises(RuntimeError, match="no hooks here"):
        hl.extract(model, torch.randn(6, 3))
    assert not model[0]._forward_hooks


def test_globs_of_layers_that_did_not_run_are_told():
    model = dense()
    model.unused = nn.ModuleDict({"head": nn.Linear(2, 2), "tail": nn.Linear(2, 2)})
    model.forward = lambda x: model[2](model[1](model[0](x)))
    x = torch.randn(6, 3)
    with pytest.raises(
        KeyError, match=r"'unused.\*' matches only layers that did not run in the forward \(unused.head, unused.tail\)"
    ):
        hl.extract(model, x, layers=["0", "unused.*"])
    with pytest.raises(KeyError, match=r"layer 'unused.head' did not run") as caught:
        hl.extract(model, x, layers=["0", "unused.head"])
    assert str(caught.value).count("'0'") <= 1
    tied = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    tied.again = tied[0]
    assert list(hl.extract(tied, x, layers=["again", "1"], forward=lambda m, b: m[1](m[0](b)))) == ["again", "1"]
    with pytest.raises(KeyError) as caught:
        hl.extract(dense(), x, reduce={"first": "mean"})
    assert str(caught.value).endswith('The layers are 0, 1, 2."') or str(caught.value).count("0, 1, 2") == 1


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
        TypeError, match=r"a batch for forward must hold a tensor or a list .* got a Sealed in which none"
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


@pytest.mark.parametrize("kind", [nn.ParameterList, nn.ParameterDict])
def test_lists_of_weights_are_weights_of_the_module_they_are_in(kind):
    class Listed(nn.Module):
        def __init__(self):
            super().__init__()
            weights = [torch.randn(4, 4), torch.randn(4, 3)]
            self.weights = kind(weights if kind is nn.ParameterList else dict(zip("ab", weights, strict=True)))

        def forward(self, x):
            for weight in self.weights if kind is nn.ParameterList else self.weights.values():
                x = x @ weight
            return x

    x = torch.randn(6, 4)
    model = nn.Sequential(nn.Linear(4, 4), Listed())
    found = hl.extract(model, x)
    assert list(found) == ["0", "1"]
    np.testing.assert_allclose(found["1"], model(x).detach().numpy(), rtol=1e-6)
    assert list(hl.extract(Listed(), x)) == ["output"]
