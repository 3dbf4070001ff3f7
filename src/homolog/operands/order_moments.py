"""Moments of ⟨K, L⟩ over all n! orders of the examples of L, in closed form.

K and L are symmetric matrices whose rows sum to zero and whose trace is zero. The power ⟨K, L⟩^k is a sum over k pairs of
examples. Pairs that have examples in common make a pattern, a graph whose vertices are examples and whose edges are pairs. Over
all orders, every choice of different examples for the vertices of a pattern G is equally likely, so that

    E ⟨K, L⟩^k = Σ_G count(G) · S_G(K) · S_G(L) / (n (n−1) … (n−r+1)),      r the vertices of G,

with S_G(K) the sum of the products of K over the edges of G and over different examples. Because rows and diagonal sum to zero,
every S_G is a polynomial in a few sums over all examples, such as Σ K_ij², whose graphs are connected: `sums_over_examples` has
them.
Mean and variance are those of Kazi-Aoual, Hitier, Sabatier & Lebreton (1995); this gives the fourth moment too.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from homolog.arrays import all_to_numpy

Graph = tuple[tuple[int, int], ...]
"""Edges between numbered vertices, an edge from a vertex to itself for an entry of the diagonal."""
Polynomial = Mapping[tuple[Graph, ...], int]
"""Products of connected graphs → coefficient."""
HIGHEST = 4


class Shape(NamedTuple):
    """What a distribution looks like whatever its mean and variance."""

    skewness: np.ndarray
    kurtosis: np.ndarray
    """Of a normal distribution 3."""


def sums_over_examples(matrix: np.ndarray) -> dict[Graph, float]:
    """Return the sum of every connected graph of two to four edges that does not vanish, of a matrix as described above."""
    found = _sums(matrix, np.diagonal(matrix), _Products(np.vdot, np.sum, np.matmul, partial(np.einsum, "ij,ij->i")))
    return {graph: float(total) for graph, total in found.items()}


def sums_over_examples_of_all(matrices: Any) -> list[dict[Graph, float]]:
    """Return the same of many matrices (matrices, n, n) of PyTorch's, with one copy from their device."""
    products = _Products(
        lambda x, y: (x * y).flatten(1).sum(1),
        lambda x: x.flatten(1).sum(1),
        lambda x, y: x @ y if x.ndim == 3 else (x[:, None, :] @ y)[:, 0],
        lambda x, y: (x * y).sum(2),
    )
    found = _sums(matrices, matrices.diagonal(dim1=1, dim2=2), products)
    values = all_to_numpy(list(found.values())).astype(float)
    return [dict(zip(found, column.tolist(), strict=True)) for column in values.T]


class _Products(NamedTuple):
    """Products of one matrix, or of each of many."""

    dot: Callable[[Any, Any], Any]
    total: Callable[[Any], Any]
    times: Callable[[Any, Any], Any]
    """A vector, or a matrix, times a matrix."""
    rows: Callable[[Any, Any], Any]
    """Products of each row of a matrix with that of another."""


def _sums(matrix: Any, own: Any, products: _Products) -> dict[Graph, Any]:
    dot, total, times, rows = products
    # The matrix is symmetric: of its products with its transpose half are formed.
    squares, twice = matrix * matrix, times(matrix, matrix.T if matrix.ndim == 2 else matrix)
    along = squares.sum(-2)
    return {
        ((0, 0), (0, 0)): dot(own, own),
        ((0, 1), (0, 1)): total(along),
        ((0, 0), (0, 0), (0, 0)): total(own**3),
        ((0, 0), (0, 1), (0, 1)): dot(own, along),
        ((0, 0), (0, 1), (1, 1)): dot(times(own, matrix), own),
        ((0, 1), (0, 1), (0, 1)): dot(matrix, squares),
        ((0, 1), (0, 2), (1, 2)): dot(twice, matrix),
        ((0, 0), (0, 0), (0, 0), (0, 0)): total(own**4),
        ((0, 0), (0, 0), (0, 1), (0, 1)): dot(own**2, along),
        ((0, 0), (0, 0), (0, 1), (1, 1)): dot(times(own**2, matrix), own),
        ((0, 0), (0, 1), (0, 1), (0, 1)): dot(own, rows(matrix, squares)),
        ((0, 0), (0, 1), (0, 1), (1, 1)): dot(times(own, squares), own),
        ((0, 0), (0, 1), (0, 2), (1, 2)): dot(own, rows(twice, matrix)),
        ((0, 0), (0, 1), (1, 2), (1, 2)): dot(times(own, matrix), along),
        ((0, 0), (0, 1), (1, 2), (2, 2)): dot(times(own, twice), own),
        ((0, 1), (0, 1), (0, 1), (0, 1)): dot(squares, squares),
        ((0, 1), (0, 1), (0, 2), (0, 2)): dot(along, along),
        ((0, 1), (0, 1), (0, 2), (1, 2)): dot(squares, twice),
        ((0, 1), (0, 2), (1, 3), (2, 3)): dot(twice, twice),
    }


def shapes(n: int, xs: Sequence[Mapping[Graph, float]], ys: Sequence[Mapping[Graph, float]]) -> Shape:
    """Return skewness and kurtosis of ⟨K, L⟩ over all orders of n examples, of every K of xs with every L of ys.

    NaN where no order changes ⟨K, L⟩.
    """
    second, third, fourth = (moment(n, xs, ys, order) for order in (2, 3, 4))
    varies = second > 1e-12 / n**2  # of matrices of norm 1, whose products vary by about 1/n if they vary
    spread = np.sqrt(np.where(varies, second, np.nan))
    return Shape(third / spread**3, fourth / spread**4)


def moment(n: int, xs: Sequence[Mapping[Graph, float]], ys: Sequence[Mapping[Graph, float]], order: int) -> np.ndarray:
    """Return the mean of ⟨K, L⟩^order over all orders of n examples, of every K of xs with every L of ys."""
    terms, weights = _weights(n, order)
    first, second = (
        np.array([[math.prod(sums[graph] for graph in term) for term in terms] for sums in side]) for side in (xs, ys)
    )
    return first @ weights @ second.T


def variance_weights(n: int) -> np.ndarray:
    """Return the symmetric (2, 2) matrix W with variance (Σ K_ii², Σ K_ij²) W (Σ L_ii², Σ L_ij²)ᵀ over all orders."""
    terms, weights = _weights(n, 2)
    assert terms == [(((0, 0), (0, 0)),), (((0, 1), (0, 1)),)]
    return weights


@lru_cache(maxsize=64)
def _weights(n: int, order: int) -> tuple[list[tuple[Graph, ...]], np.ndarray]:
    """Return the products of sums that a moment is made of, and the matrix that says how."""
    found = _patterns(order)
    terms = sorted({term for _, _, polynomial in found for term in polynomial})
    total = np.zeros((len(terms), len(terms)))
    for vertices, count, polynomial in found:
        if vertices <= n:
            row = np.array([polynomial.get(term, 0) for term in terms], dtype=float)
            total += count / math.perm(n, vertices) * np.outer(row, row)
    return terms, total


@lru_cache(maxsize=8)
def _patterns(order: int) -> list[tuple[int, int, Polynomial]]:
    """List the patterns of so many pairs: vertices, in how many ways it comes about, and its sum over different examples."""
    patterns: Counter[Graph] = Counter({(): 1})
    for _ in range(order):
        more: Counter[Graph] = Counter()
        for graph, count in patterns.items():
            for edge in _next_edges(_order_of(graph)):
                more[_renumbered((*graph, edge))] += count
        patterns = more
    return [(_order_of(graph), count, _over_different(graph)) for graph, count in patterns.items()]


def _next_edges(vertices: int) -> Iterator[tuple[int, int]]:
    """Yield every pair of examples that may come next: among those that are there, and new ones."""
    for first in range(vertices + 1):
        for second in range(max(vertices, first + 1) + 1):
            yield first, second


def _order_of(graph: Graph) -> int:
    return 1 + max((max(edge) for edge in graph), default=-1)


@cache
def _renumbered(graph: Graph) -> Graph:
    """Return a graph as every graph that differs from it by the numbers of its vertices is returned."""
    parts = sorted(_smallest(part) for part in _parts(graph))
    found: list[tuple[int, int]] = []
    for part in parts:
        found += [(u + _order_of(tuple(found)), v + _order_of(tuple(found))) for u, v in part]
    return tuple(sorted(found))


def _smallest(part: Graph) -> Graph:
    vertices = sorted({vertex for edge in part for vertex in edge})
    numberings = (dict(zip(vertices, order, strict=True)) for order in itertools.permutations(range(len(vertices))))
    return min(
        tuple(sorted((min(names[u], names[v]), max(names[u], names[v])) for u, v in part)) for names in numberings
    )


def _parts(graph: Graph) -> list[Graph]:
    """Return the connected parts of a graph."""
    parts: list[list[tuple[int, int]]] = []
    for edge in graph:
        touched = [part for part in parts if any(set(edge) & set(other) for other in part)]
        parts = [part for part in parts if part not in touched] + [[edge, *itertools.chain.from_iterable(touched)]]
    return [tuple(part) for part in parts]


@cache
def _over_different(graph: Graph) -> Polynomial:
    """Return the sum over different examples as a polynomial in sums over all examples, by what may coincide."""
    if not graph:
        return {(): 1}
    vertices = range(_order_of(graph))
    found: Counter[tuple[Graph, ...]] = Counter()
    ends = Counter(itertools.chain.from_iterable(graph))
    loops = Counter(u for u, v in graph if u == v)
    for vertex in vertices:
        if ends[vertex] == 1 + loops[vertex] and ends[vertex] <= 2:
            # The only pair of this example: over all examples it sums to zero, so over the others to less those that are there.
            place = next(k for k, edge in enumerate(graph) if vertex in edge)
            for other in vertices:
                if other != vertex:
                    edge = tuple(other if end == vertex else end for end in graph[place])
                    _add(found, _over_different(_renumbered((*graph[:place], edge, *graph[place + 1 :]))), -1)
            return found
    parts = _parts(graph)
    for merging in _mergings(graph, parts):
        merged = _renumbered(tuple((min(merging[u], merging[v]), max(merging[u], merging[v])) for u, v in graph))
        _add(found, _over_different(merged), -1)
    if len(parts) == 1:
        found[(_renumbered(graph),)] += 1
        return found
    first, rest = (_over_different(_renumbered(part)) for part in (parts[0], tuple(itertools.chain(*parts[1:]))))
    for (term, factor), (other_term, other_factor) in itertools.product(first.items(), rest.items()):
        found[tuple(sorted((*term, *other_term)))] += factor * other_factor
    return found


def _add(found: Counter[tuple[Graph, ...]], polynomial: Polynomial, factor: int) -> None:
    for term, coefficient in polynomial.items():
        found[term] += factor * coefficient


def _mergings(graph: Graph, parts: Sequence[Graph]) -> Iterator[dict[int, int]]:
    """Yield what examples may coincide: any of a connected graph; of one in parts those of the first with those of the rest."""
    vertices = list(range(_order_of(graph)))
    first = {vertex for edge in parts[0] for vertex in edge}
    for blocks in _set_partitions(vertices):
        if len(blocks) == len(vertices):
            continue
        sides = [(sum(v in first for v in block), sum(v not in first for v in block)) for block in blocks]
        if len(parts) == 1 or all(max(side) <= 1 for side in sides):
            yield {vertex: number for number, block in enumerate(blocks) for vertex in block}


def _set_partitions(vertices: Sequence[int]) -> Iterator[list[list[int]]]:
    if not vertices:
        yield []
        return
    for blocks in _set_partitions(vertices[1:]):
        yield [[vertices[0]], *blocks]
        for k in range(len(blocks)):
            yield [*blocks[:k], [vertices[0], *blocks[k]], *blocks[k + 1 :]]
