"""Graphs are one batch, whose examples are the nodes, whatever the numbers of nodes and edges."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import homolog as hl


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


class Graph(nn.Module):
    """Adds to every node what its neighbours hold."""

    def __init__(self):
        super().__init__()
        self.lift, self.mix = nn.Linear(3, 5), nn.Linear(5, 4)

    def forward(self, x, edge_index, edge_attr=None):
        hidden = self.lift(x)
        sent = hidden[edge_index[0]] if edge_attr is None else hidden[edge_index[0]] * edge_attr.mean(1, keepdim=True)
        return self.mix(hidden.index_add(0, edge_index[1], sent))


def graph(nodes, edges, *, features=0, edges_first=False):
    found = {"x": torch.randn(nodes, 3), "edge_index": torch.randint(0, nodes, (2, edges))}
    found |= {"edge_attr": torch.rand(edges, features)} if features else {}
    return dict(reversed(found.items())) if edges_first else found


@pytest.mark.filterwarnings("ignore:.*could not be tried:homolog.ExtractionWarning")
@pytest.mark.parametrize("form", ["mapping", "record", "tuple"])
@pytest.mark.parametrize("edges_first", [False, True])
@pytest.mark.parametrize("features", [0, 3])
@pytest.mark.parametrize(("nodes", "edges"), [(1, 5), (1, 2), (1, 1), (1, 0), (2, 5), (2, 2), (7, 7), (3, 2), (6, 11)])
def test_the_nodes_are_the_examples(nodes, edges, features, edges_first, form):
    if form == "tuple" and (nodes == 2 or nodes == edges or features):
        return  # without names, two nodes are two examples
    model, graphs = Graph(), [graph(n, edges, features=features, edges_first=edges_first) for n in (nodes, 4)]
    forwards = {
        "mapping": None,
        "record": lambda model, batch: model(**vars(batch)),
        "tuple": lambda model, batch: model(*(batch[::-1] if edges_first else batch)),
    }
    wraps = {"mapping": lambda g: g, "record": lambda g: SimpleNamespace(**g), "tuple": lambda g: tuple(g.values())}
    taken = hl.extract(model, [wraps[form](g) for g in graphs], forward=forwards[form])
    with torch.no_grad():
        expected = torch.cat([model(**g) for g in graphs])
    assert list(taken) == ["lift", "mix"]
    np.testing.assert_allclose(taken["mix"], expected.numpy(), atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*could not be tried:homolog.ExtractionWarning")
@pytest.mark.parametrize("sparse", [False, True])
def test_a_graph_of_neighbours_is_never_cut(sparse):
    class Dense(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = nn.Linear(3, 4)

        def forward(self, x, adjacency):
            return self.mix(adjacency @ x)

    model, x, joined = Dense(), torch.randn(7, 3), (torch.rand(7, 7) > 0.5).float()
    taken = hl.extract(model, {"x": x, "adjacency": joined.to_sparse() if sparse else joined}, batch_size=2)
    np.testing.assert_allclose(taken["mix"], model.mix(joined @ x).detach().numpy(), atol=1e-6)


def test_two_examples_beside_one_table_are_no_graph():
    class Ids(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(9, 4)

        def forward(self, ids, table):
            return self.words(ids) + table.mean()

    data = {"table": torch.randn(1, 4), "ids": torch.tensor([[0, 1, 2], [3, 4, 5]])}
    assert hl.extract(Ids(), [data])["words"].shape == (2, 12)


def test_one_value_per_graph_comes_from_lists_of_graphs():
    class Read(Graph):
        def __init__(self):
            super().__init__()
            self.read = nn.Linear(4, 2)

        def forward(self, x, edge_index, of_graph=None):
            nodes = super().forward(x, edge_index)
            of_graph = torch.zeros(len(x), dtype=torch.long) if of_graph is None else of_graph
            sums = torch.zeros(int(of_graph.max()) + 1, 4).index_add(0, of_graph, nodes)
            return self.read(sums)

    def together(graphs):
        starts = torch.tensor([0, *(len(g["x"]) for g in graphs)]).cumsum(0)
        pairs = list(zip(graphs, starts, strict=False))
        return {
            "x": torch.cat([g["x"] for g in graphs]),
            "edge_index": torch.cat([g["edge_index"] + start for g, start in pairs], 1),
            "of_graph": torch.cat([torch.full((len(g["x"]),), i) for i, g in enumerate(graphs)]),
        }

    model, graphs = Read(), [graph(n, 5) for n in (3, 1, 4, 2, 6)]
    with pytest.raises(
        ValueError, match=r"'read' must put out one entry per row .*\(3, as of the nodes of a graph\).* lists of"
    ):
        hl.extract(model, graphs, layers="read")
    taken = hl.extract(
        model, [graphs[:3], graphs[3:]], layers="read", forward=lambda model, graphs: model(**together(graphs))
    )
    with torch.no_grad():
        np.testing.assert_allclose(taken["read"], torch.cat([model(**g) for g in graphs]).numpy(), atol=1e-5)
