"""Extraction: that the rows of a layer are the examples is proved, whatever sizes happen to be equal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import homolog as hl


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


class States(nn.Module):
    """Puts out the last states of a recurrent network, (layers × directions, examples, features)."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(3, 5, num_layers=2, bidirectional=True, batch_first=True)
        self.states = nn.Identity()

    def forward(self, x):
        return self.states(self.rnn(x)[1][0])


def test_directions_are_no_examples():
    x = torch.randn(4, 6, 3)
    with pytest.raises(ValueError, match=r"'states' must have the examples along its first axis, .*axis={'states': 1}"):
        hl.extract(States(), x, layers="states")
    with pytest.warns(hl.ExtractionWarning, match="states"):
        assert list(hl.extract(States(), x)) == ["rnn"]
    model = States()
    taken = hl.extract(model, x, layers="states", axis={"states": 1})["states"]
    with torch.no_grad():
        expected = model.rnn(x)[1][0].transpose(0, 1).flatten(1).numpy()
    np.testing.assert_allclose(taken, expected, atol=1e-6)


class SequenceFirst(nn.Module):
    """(examples, tokens, features) outside, (tokens, examples, features) inside."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(4, 5), nn.Linear(5, 2)

    def forward(self, x):
        return self.head(self.inner(x.transpose(0, 1)).mean(0))


@pytest.mark.parametrize("rows", [9, 18, 21])
def test_tokens_are_no_examples(rows):
    x, model = torch.randn(rows, 9, 4), SequenceFirst()
    with pytest.raises(ValueError, match="'inner' must have the examples along its first axis"):
        hl.extract(model, x, layers="inner", reduce="mean", batch_size=9)
    taken = hl.extract(model, x, layers=["inner", "head"], reduce="mean", batch_size=9, axis={"inner": 1})
    with torch.no_grad():
        np.testing.assert_allclose(taken["inner"], model.inner(x).mean(1).numpy(), atol=1e-6)
        np.testing.assert_allclose(taken["head"], model(x).numpy(), atol=1e-6)


def test_a_wrong_axis_is_refused():
    with pytest.raises(ValueError, match=r"along its axis 1 \(9\), got shape \(9, 5\)"):
        hl.extract(nn.Sequential(nn.Linear(4, 5)), torch.randn(9, 4), layers="0", axis=1)
    with pytest.raises(ValueError, match="'inner' must have the examples along its first axis"):
        hl.extract(SequenceFirst(), torch.randn(9, 9, 4), layers="inner", axis=0)
    with pytest.raises(TypeError, match="axis must be the number of the axis"):
        hl.extract(SequenceFirst(), torch.randn(9, 9, 4), axis={"inner": "first"})


class Positions(nn.Module):
    """Adds position embeddings, which are the same for all examples."""

    def __init__(self, tokens):
        super().__init__()
        self.words, self.places = nn.Embedding(20, 4), nn.Embedding(tokens, 4)

    def forward(self, ids):
        return self.words(ids) + self.places(torch.arange(ids.shape[1]))


def test_position_embeddings_are_no_examples():
    ids = torch.randint(0, 20, (6, 6))
    with pytest.warns(hl.ExtractionWarning, match=r"left out.*places \(with 3 examples it has shape \(6, 4\)\)"):
        assert list(hl.extract(Positions(6), ids)) == ["words"]
    with pytest.warns(hl.ExtractionWarning, match="left out.*places"):
        several = hl.extract(Positions(6), torch.cat([ids] * 5), batch_size=6)  # left out of all batches
    assert {name: layer.shape for name, layer in several.items()} == {"words": (30, 24)}
    with pytest.raises(ValueError, match="'places' must have the examples"):
        hl.extract(Positions(6), ids, layers=["words", "places"])


def test_weights_made_by_parametrisations_are_no_examples():
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 6)), parametrizations.orthogonal(nn.Linear(6, 6)))
    taken = hl.extract(model, torch.randn(6, 4))
    assert list(taken) == ["0", "1"]
    with pytest.raises(ValueError, match=r"'0.parametrizations.weight.0' must have the examples"):
        hl.extract(model, torch.randn(6, 4), layers="0.parametrizations.weight.0")


def test_indices_beside_the_output_are_not_the_output():
    class Routed(nn.Module):
        def forward(self, x):
            return {"indices": torch.zeros(len(x), 2, dtype=torch.int64), "weights": x.sum(1), "hidden": 2 * x}

    x = torch.randn(5, 3)
    np.testing.assert_array_equal(hl.extract(nn.Sequential(Routed()), x)["0"], 2 * x)


@dataclass
class Found:
    """What a detector puts out."""

    boxes: torch.Tensor
    labels: torch.Tensor


@pytest.mark.parametrize("kind", ["boxes", "experts", "similarities", "tables"])
def test_what_only_happens_to_be_as_long_as_the_batch_is_left_out(kind):
    class Other(nn.Module):
        def forward(self, x):
            return {
                "boxes": Found(torch.arange(20.0).reshape(5, 4), torch.zeros(5)),
                "experts": x.mean(0).expand(5, 3),
                "similarities": x @ x.T,
                "tables": nn.functional.one_hot(torch.arange(len(x))).float(),
            }[kind]

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.other = nn.Linear(3, 3), Other()

        def forward(self, x):
            self.other(x)
            return self.first(x)

    x = torch.randn(5, 3)
    with pytest.warns(hl.ExtractionWarning, match="left out.*other"):
        assert list(hl.extract(Model(), x)) == ["first"]
    with pytest.raises(ValueError, match="'other' must have the examples"):
        hl.extract(Model(), x, layers=["other"])


def test_rows_that_depend_on_the_other_examples_are_refused_unless_asked_for():
    model = nn.Sequential(nn.Linear(3, 4), nn.LSTM(4, 5))  # takes the examples for the steps of one sequence
    x = torch.randn(12, 3)
    with pytest.raises(ValueError, match=r"'1' must have the examples .* its rows change with the other examples"):
        hl.extract(model, x, layers="1")
    with pytest.warns(hl.ExtractionWarning, match=r"1 \(its rows change with the other examples"):
        assert list(hl.extract(model, x)) == ["0"]
    assert hl.extract(model, x, layers="1", axis=0)["1"].shape == (12, 5)


def test_layers_that_sample_are_taken_with_a_word():
    class Noisy(nn.Module):
        def forward(self, x):
            return x + torch.randn_like(x)

    with pytest.warns(hl.ExtractionWarning, match="^1: other values at every run"):
        taken = hl.extract(nn.Sequential(nn.Linear(3, 4), Noisy()), torch.randn(12, 3), batch_size=3)  # told once
    assert list(taken) == ["0", "1"]


def test_the_proof_disturbs_neither_the_random_numbers_nor_the_buffers():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, x):
            self.calls += 1
            return x + torch.rand(1)

    x = torch.randn(6, 3)
    model = nn.Sequential(Counting())
    torch.manual_seed(7)
    with pytest.warns(hl.ExtractionWarning, match="other values at every run"):
        taken = hl.extract(model, x, batch_size=3)["0"]
    torch.manual_seed(7)
    expected = torch.cat([x[:3] + torch.rand(1), x[3:] + torch.rand(1)])
    np.testing.assert_array_equal(taken, expected.numpy())
    assert model[0].calls.tolist() == [2]


@pytest.mark.parametrize("sizes", [[2], [1, 1, 1], [3, 1]])
def test_small_batches_are_proved_too(sizes):
    model = nn.Sequential(nn.Linear(4, 5), SequenceFirst.__new__(SequenceFirst))
    model[1].__init__()
    model[1].inner = nn.Linear(5, 5)
    batches = [torch.randn(size, max(size, 2), 4) for size in sizes]
    if len({batch.shape[1] for batch in batches}) > 1:
        batches = [batch[:, :2] for batch in batches]
    taken = hl.extract(model, batches, layers=["0", "1.head"], reduce="mean")
    assert taken.n == sum(sizes) or pytest.fail("rows were lost")


def test_a_model_of_one_size_of_batch_is_tried_with_all_examples_the_other_way_round():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.keep, self.place = nn.Identity(), nn.Embedding(6, 4)

        def forward(self, x):
            self.place(torch.arange(6))
            return self.keep(x.view(6, 2, 2))

    with pytest.warns(hl.ExtractionWarning, match=r"place \(its rows do not follow the examples\)"):
        assert list(hl.extract(Fixed(), torch.randn(6, 4))) == ["keep"]


def test_data_that_cannot_be_cut_are_named_where_sizes_collide():
    class Graph(nn.Module):
        def __init__(self):
            super().__init__()
            self.lift, self.mix = nn.Linear(3, 4), nn.Linear(4, 7)

        def forward(self, x, edges, weights):
            hidden = self.lift(x)
            return self.mix(hidden.index_add(0, edges[1], hidden[edges[0]] * weights[:, None]))

    graph = {"x": torch.randn(7, 3), "edges": torch.randint(0, 7, (2, 11)), "weights": torch.rand(11)}
    with pytest.warns(hl.ExtractionWarning, match="mix: it could not be tried whether the first axis"):
        taken = hl.extract(Graph(), graph, batch_size=2)
    assert {name: array.shape for name, array in taken.items()} == {"lift": (7, 4), "mix": (7, 7)}
    assert list(hl.extract(Graph(), graph, axis=0)) == ["lift", "mix"]  # without a warning


def test_a_later_batch_of_another_size_is_a_proof():
    class Batch:
        __slots__ = ("x",)

        def __init__(self, x):
            self.x = x

    class Table(nn.Module):
        def forward(self, x):
            return torch.ones(5, 5)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.line, self.table = nn.Linear(5, 5), Table()

        def forward(self, x, label):
            self.table(x)
            return self.line(x)

    graphs = [{"x": torch.randn(n, 5), "label": torch.zeros(2 * n)} for n in (5, 6)]
    taken = hl.extract(Model(), graphs, layers="line")
    assert taken["line"].shape == (11, 5)
    with pytest.raises(ValueError, match=r"'table' must put out one entry per row of the features .*\(6, as of"):
        hl.extract(Model(), graphs, layers=["line", "table"])
    assert isinstance(pack_padded_sequence(torch.ones(2, 2, 1), [2, 1], batch_first=True), PackedSequence)


def test_a_model_that_takes_no_other_batch_is_named_where_sizes_collide():
    x = torch.randn(6, 6)

    class Particular(nn.Module):
        def __init__(self):
            super().__init__()
            self.line, self.wide = nn.Linear(6, 4), nn.Linear(4, 5)

        def forward(self, given):
            assert torch.equal(given, x)
            return self.wide(self.line(given))

    with pytest.warns(hl.ExtractionWarning, match="line, wide: it could not be tried"):
        assert list(hl.extract(Particular(), x)) == ["line", "wide"]


@pytest.mark.parametrize("axis", [2, -1])
def test_examples_on_the_last_axis(axis):
    class Last(nn.Module):
        def forward(self, x):
            return x.permute(1, 2, 0)  # (tokens, features, examples)

    x = torch.randn(5, 4, 3)
    taken = hl.extract(nn.Sequential(Last()), x, axis=axis, reduce="mean", layers=["0", "input"])
    np.testing.assert_allclose(taken["0"], x.mean(1).numpy(), atol=1e-6)
    np.testing.assert_array_equal(taken["0"], taken["input"])


def test_a_state_that_a_model_keeps_is_put_back_after_the_proof():
    class Keeping(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.state, self.seen = nn.GRUCell(3, 4), None, []

        def forward(self, x):
            fits = self.state is not None and len(self.state) == len(x)
            self.state = self.cell(x, self.state if fits else None)
            self.seen.append(len(x))
            return self.state

    x = torch.randn(9, 3)
    model, again = Keeping(), Keeping()
    again.load_state_dict(model.state_dict())
    with torch.no_grad():
        expected = torch.cat([again(part) for part in x.split(3)])
    np.testing.assert_allclose(
        hl.extract(model, x, layers=["output"], batch_size=3, axis=0)["output"], expected, atol=1e-6
    )
    assert model.seen == again.seen == [3, 3, 3]


def test_what_is_routed_to_an_expert_may_be_as_much_as_the_batch():
    class Routed(nn.Module):
        def __init__(self):
            super().__init__()
            self.experts = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])

        def forward(self, x):
            tokens = x.flatten(0, 1)
            first = tokens[:, 0] > 0
            out = torch.empty_like(tokens)
            out[first], out[~first] = self.experts[0](tokens[first]), self.experts[1](tokens[~first])
            return out.view_as(x)

    x = torch.randn(4, 2, 3)
    x[:, :, 0] = torch.tensor([[1.0, -1.0], [1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
    with pytest.raises(ValueError, match=r"no layer puts out rows that are the examples, got experts.0"):
        hl.extract(Routed(), x)


def test_later_batches_are_tried_too():
    class Sorted(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(3, 3)

        def forward(self, x):
            order = x[:, 0].argsort(descending=True, stable=True)
            return self.inner(x[order])[order.argsort()]

    even, mixed = torch.randn(4, 3), torch.randn(4, 3)
    even[:, 0] = 5.0
    mixed[:, 0] = torch.tensor([2.0, 4.0, 5.0, 3.0])
    with pytest.raises(ValueError, match="'inner' must have the examples"):
        hl.extract(Sorted(), [even, mixed], layers="inner")


def test_a_small_feature_beside_large_ones_is_looked_at_too():
    class Uneven(nn.Module):
        def forward(self, x):
            return torch.cat([3000 * x[:, :1], x[:, 1:] - x[:, 1:].mean(0)], 1)

    with pytest.raises(ValueError, match="its rows change with the other examples"):
        hl.extract(nn.Sequential(Uneven()), torch.randn(20, 4), layers="0")
