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
