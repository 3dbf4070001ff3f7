"""Structure family: inner products of centred n×n similarity structures (HSIC, CKA).

What the estimators need of them is in `gram_products`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, final

import numpy as np

from homolog.arrays import Array, all_to_numpy, namespace, precise, scalar, to_numpy
from homolog.blocks.budget import Cost, Form, Sizes, TooLittleError, WholeError, blocked, panels_for, rounds, tiles_for
from homolog.blocks.products import PIECE, Step, Structure, cross_products, stacked_products, tile_products
from homolog.blocks.scan import COLUMNS, ROWS
from homolog.blocks.workers import Workers
from homolog.devices import is_elsewhere
from homolog.diagnostics import Caution
from homolog.linalg import squared_norm
from homolog.machine import format_bytes
from homolog.operands.condensed import ROWS as CONDENSED_ROWS
from homolog.operands.family import Invariances, Pairs, TogetherFamily
from homolog.operands.gram import exact, gram_of
from homolog.operands.gram_permutations import permuted_inner_products
from homolog.operands.gram_products import GramProducts, GramSums, along, sums
from homolog.operands.leave_one_out import inner_without_each, trace_without_each
from homolog.operands.representation import ArrayRepresentation, Representation
from homolog.operands.sketched_gram import Halves, SketchedGram, any_sketched, halves_of, sketched_gram
from homolog.operands.sketched_products import met_sketches, products_with_sketches
from homolog.operands.sparse_gram import SparseGram, sparse_gram
from homolog.operands.structures import CondensedGram, Gram, RadialGram, products
from homolog.sketching import SketchedRows
from homolog.sparse import SparseRows
from homolog.warning_sentences import missing_inputs, nothing_left, only_noise, without_width


@final
class StructureFamily(TogetherFamily):
    """Measures of inner products of structures."""

    name = "structure"
    options: ClassVar = {"kernel": "linear", "median_fraction": 1.0, "inputs": None}
    record: ClassVar = {"symmetric": True, "differentiable": True, "invariances": Invariances(orthogonal="xy")}
    shares = "distances"
    float32 = "all pairs"
    blockwise = True
    sparse: ClassVar = {"kernel": "linear"}
    sketches: ClassVar = {"kernel": "linear"}

    def prepare(self, x: Representation | SparseRows | SketchedRows, **options: Any) -> Gram:
        """Return the centred structure of a representation, or the linear one of sparse rows or of sketches."""
        if isinstance(x, SketchedRows):
            linear: Any = gram_of(ArrayRepresentation(x.kept), **options)
            return sketched_gram(linear, x.sketch)
        return sparse_gram(x) if isinstance(x, SparseRows) else gram_of(x, **options)

    def meet(self, x: Gram, y: Gram) -> GramProducts:
        """Return all statistics of one pair."""
        if any_sketched((x, y)):
            return met_sketches(x, y)
        cross = x.own if y is x else products(x, y)
        own = sums(x, *x.own), sums(y, *y.own)
        return GramProducts(x.n, *cross, own[0].trace * own[1].trace, *own)

    def exact(self, **options: Any) -> bool:
        """Say whether a kernel is formed in float64 whatever is given."""
        return exact(**options)

    def remarks(self, operands: Mapping[str, Gram], pairs: Pairs) -> list[Caution]:
        """Say of which layers nothing is left, and where no inputs were given whose similarity could be removed."""
        explained, no_width = (
            [label for label, x in operands.items() if x.left == why] for why in ("explained", "no width")
        )
        missing = missing_inputs([label for label, x in operands.items() if x.lacks_inputs])
        noisy = {label: x.sketch.columns for label, x in operands.items() if isinstance(x, SketchedGram) and x.is_noise}
        return nothing_left(explained) + without_width(no_width) + missing + only_noise(noisy)

    def cost(self, sizes: Sizes, *, kernel: Any = "linear", **_: Any) -> Cost:
        """Return what operands take, and pairs that meet one by one."""
        n, width, item = sizes.n, sizes.widest, sizes.item
        flops = _flops(sizes, np.arange(len(sizes.widths)))
        small = 16 * n * len(sizes.widths)
        if kernel == "linear":
            held = int(n * np.sum(sizes.widths * sizes.items))
            # A pair goes through Gram matrices where features outnumber examples.
            per_pair = 24 * width**2 if width <= n else 24 * n * n
            return Cost(flops, held + small, 2 * n * width * item, per_pair)
        if sizes.elsewhere:  # whole, and in float64
            return Cost(flops, 8 * n * n * len(sizes.widths) + small, 6 * 8 * n * n, 24 * n * n)
        if callable(kernel) or kernel == "residual":
            held = n * n * int(np.sum(sizes.items))
            return Cost(flops, held + small, (6 if kernel == "residual" else 3) * n * n * item, 24 * n * n)
        condensed = n * (n - 1) // 2
        # Squared distances, and the kernel of them.
        per_layer = 2 * condensed * item + 4 * (min(CONDENSED_ROWS, n) + width) * n * item
        return Cost(flops, condensed * int(np.sum(sizes.items)) + small, per_layer, 16 * n * n // 2)

    def choose(self, sizes: Sizes, *, kernel: Any = "linear", **_: Any) -> Form:
        """Choose the cheapest form by its floating-point operations.

        Linear structures are ordered by width, and the k widest are formed tile by tile, for the k of least total cost:

        | form | cost |
        |---|---|
        | tiles | n²·p per layer (its upper half), n² per pair of tiled layers |
        | features | 2·n·p·q per pair, n·p² per layer for its self-term; only where p, q <= n |

        Others are held as vectors, of which all pairs are one product.
        """
        cost, n, everything = self.cost(sizes, kernel=kernel), sizes.n, tuple(range(len(sizes.widths)))
        if kernel != "linear":
            dense = callable(kernel) or kernel == "residual" or sizes.elsewhere
            stacked = len(everything) * min(PIECE, n * n if dense else n * n // 2) * sizes.item
            flops = n**2 * float(sizes.widths.sum()) + n**2 * float(len(everything) ** 2)
            return Form(replace(cost, flops=flops, per_pair=0, together=stacked), tiled=everything)
        tiled = everything if sizes.sparse else cheapest_tiled(sizes)
        stack = tiles_at_once(sizes, len(tiled))
        panels = tiles_for(sizes, stack, sizes.memory - cost.held)
        tiles = stack * panels.rows * panels.columns * sizes.item if tiled else 0
        through = 24 * min(sizes.widest, n) ** 2 if len(tiled) < len(everything) else 0
        cost = replace(cost, flops=_flops(sizes, np.array(tiled, dtype=int)), per_pair=through, together=tiles)
        return Form(cost, tiled, panels if tiled else None)

    def blocked(self, sizes: Sizes, *, kernel: Any = "linear", **_: Any) -> Form:
        """Choose which structures are formed tile by tile, as `choose` does, and how many rows are held."""
        if callable(kernel) or kernel == "residual":
            what = "deconfounded_cka" if kernel == "residual" else "a kernel of one's own"
            instead = "" if kernel == "residual" else ", or use kernel='linear' or 'rbf'"
            raise WholeError(
                f"{what} takes a whole representation, got layers on disk that need more than memory="
                f"{format_bytes(sizes.memory)}: raise memory{instead}."
            )
        linear, count = kernel == "linear", len(sizes.widths)
        # What is kept per example and per column.
        left = sizes.memory - 8 * sizes.n * count * (1 if linear else 4) - 40 * int(sizes.widths.sum())
        if left <= 0:
            raise TooLittleError
        if not linear:
            return _radial_form(sizes, left, median=kernel == "rbf")
        tiled = cheapest_tiled(sizes)
        row = int(np.sum(sizes.widths[list(tiled)] * sizes.items[list(tiled)]))
        panels = panels_for(sizes, row, tiles_at_once(sizes, len(tiled)), left) if tiled else None
        pairs = sorted({*sizes.index_pairs(), *((index, index) for index in range(count))})
        parts = rounds([pair for pair in pairs if not set(pair) <= set(tiled)], sizes, left)
        read = sizes.read(share=2) + sum(sizes.read(part.layers) for part in parts)
        if panels is not None:
            read += sizes.read(list(tiled), panels.rows_read(sizes.n, sizes.share) / sizes.n)
        return blocked(sizes, _flops(sizes, np.array(tiled, dtype=int)), read, tiled=tiled, panels=panels, rounds=parts)

    def meet_all(
        self, operands: Sequence[Gram], needed: np.ndarray, form: Form, workers: Workers, step: Step
    ) -> GramProducts:
        """Return the statistics of all pairs at once, as NumPy arrays over (layers, layers)."""
        diagonals = all_to_numpy([x.diagonal for x in operands])
        if any_sketched(operands):
            tiled, apart = list(form.tiled), np.zeros((len(form.tiled),) * 2, dtype=bool)
            some = [operands[i] for i in tiled]
            whole = _linear_products(some, diagonals[tiled], apart, form.all_tiled(), workers, step) if tiled else apart
            return products_with_sketches(operands, needed, form, workers, step, whole)
        if isinstance(operands[0], RadialGram):
            inner, diagonals = _radial_products(operands, form, workers, step)
        elif form.panels is None and form.tiled:
            inner = _stacked(operands, diagonals, step)
        else:
            inner = _linear_products(operands, diagonals, needed, form, workers, step)
        own = [
            sums(x, x.diagonal, x.diagonal)._replace(trace=k.sum()) for x, k in zip(operands, diagonals, strict=True)
        ]
        return GramProducts.of_all(operands[0].n, (inner, diagonals @ diagonals.T), own)

    def permuted(
        self, xs: Sequence[Gram], ys: Sequence[Gram], needed: np.ndarray, memory: int
    ) -> Callable[[np.ndarray], GramProducts]:
        """Return order → the statistics of all pairs with the examples of y in this order, over (x, y)."""
        halves = Halves.of(xs, ys)
        inner = permuted_inner_products(halves.xs, halves.ys, halves.apart(needed), memory)
        first, second = (np.stack([to_numpy(x.diagonal) for x in part]) for part in (halves.xs, halves.ys))
        rows, columns = (
            along(
                GramSums(*(np.array([to_numpy(x) for x in field]) for field in zip(*map(_own, part), strict=True))),
                side,
            )
            for part, side in ((xs, 0), (ys, 1))
        )
        n, traces = xs[0].n, halves.together(np.outer(first.sum(axis=1), second.sum(axis=1)))
        return lambda order: GramProducts(
            n, halves.together(inner(order)), halves.together(first @ second[:, order].T), traces, rows, columns
        )


def _own(x: Gram) -> GramSums:
    """Return what the estimators need of one operand by itself."""
    return met_sketches(x, x).x if any_sketched((x,)) else sums(x, *x.own)


def cheapest_tiled(sizes: Sizes) -> tuple[int, ...]:
    """Return which linear structures are formed tile by tile: those wider than there are examples, and those it pays for."""
    order = np.argsort(-sizes.widths, kind="stable")
    order = order[~sizes.sketched[order]]  # of sketches the products of single blocks are needed
    fewest = int(np.sum(sizes.widths[order] > sizes.n))
    best = min(range(fewest, len(order) + 1), key=lambda k: _flops(sizes, order[:k]))
    return tuple(sorted(int(i) for i in order[:best]))


def tiles_at_once(sizes: Sizes, layers: int, *, kernels: bool = False) -> int:
    """Return how many tiles are held at a time: the stack of all layers, and what threads, or a device, make of them."""
    return 2 * layers + 1 if sizes.elsewhere else layers + (3 if kernels else 1) * sizes.workers


def _flops(sizes: Sizes, tiled: np.ndarray) -> float:
    widths, n = sizes.widths.astype(float), sizes.n
    inside = np.zeros(len(widths), dtype=bool)
    inside[tiled] = True
    # The stacked product forms all pairs of tiled layers, wanted or not.
    by_tiles = n**2 * float(np.sum(widths[inside]) + inside.sum() ** 2)
    i, j = np.nonzero(np.triu(sizes.needed | sizes.needed.T, 1) & ~(inside[:, None] & inside[None, :]))
    return by_tiles + 2 * n * float(widths[i] @ widths[j]) + n * float(np.sum(widths[~inside] ** 2))


def _radial_form(sizes: Sizes, left: int, *, median: bool) -> Form:
    """Plan kernels of distances, block by block: a pass over the tiles of each layer for its median, and one over all."""
    count, item, n = len(sizes.widths), sizes.item, sizes.n
    panels = panels_for(sizes, int(np.sum(sizes.widths)) * item, tiles_at_once(sizes, count, kernels=True), left)
    whole = replace(sizes, spread=False)
    alone = tuple(
        panels_for(whole, int(width) * int(own), 4 * sizes.workers, left - left // 4, (ROWS, COLUMNS))
        for width, own in zip(sizes.widths, sizes.items, strict=True)
    )
    read = sizes.read(share=2 + panels.rows_read(n, sizes.share) / n)
    # A sample twice, one pass over tiles for the median, and the means of rows; where the guess is poor it is repeated.
    read += sum(sizes.read([index], 3 + median * own.rows_read(n) / n) for index, own in enumerate(alone))
    flops = n**2 * float(count**2 + sizes.widths.sum() * (1 + median))
    # Kept distances are put together, and ordered: three copies.
    how = {"tiled": tuple(range(count)), "panels": panels, "alone": alone, "keep": left // 4 // 16}
    return blocked(sizes, flops, read, **how)


def _stacked(grams: Sequence[Any], diagonals: np.ndarray, step: Step) -> np.ndarray:
    """Return off-diagonal inner products of structures that are held as vectors."""
    if all(isinstance(x, CondensedGram) for x in grams):
        return 2 * stacked_products([x.condensed for x in grams], step)
    vectors = [namespace(x.gram).reshape(x.gram, (-1,)) for x in grams]
    return stacked_products(vectors, step) - diagonals @ diagonals.T


def _linear_products(
    grams: Sequence[Any],
    diagonals: np.ndarray,
    needed: np.ndarray,
    form: Form,
    workers: Workers,
    step: Step,
) -> np.ndarray:
    """Return off-diagonal inner products of linear structures: tile by tile, or through products of features."""
    count, tiled = len(grams), list(form.tiled)
    inner = np.full((count, count), np.nan)
    features = [x.features for x in grams]
    if tiled:
        assert form.panels is not None  # structures are tiled
        structures = [Structure(features[index], _tiles_of(grams[index])) for index in tiled]
        across = _across(needed[np.ix_(tiled, tiled)])
        inner[np.ix_(tiled, tiled)] = tile_products(structures, form.panels, workers, step, form.share, across)[0]
    left = np.triu(needed | needed.T | np.eye(count, dtype=bool)) & np.isnan(inner)
    pairs = [(int(i), int(j)) for i, j in zip(*np.nonzero(left), strict=True)]
    squares: dict[tuple[int, int], Any] = {}
    for pair, squared in cross_products(features, _itself, pairs, form.rounds, workers, _squared):
        squares[pair] = squared
        # Where structures are tiled, that is the main part of the work, and the bar follows it alone.
        step(0.0 if tiled else 1 / len(pairs))
    for (i, j), squared in _known(squares).items():
        inner[i, j] = inner[j, i] = squared - diagonals[i] @ diagonals[j]
    return inner


def _across(needed: np.ndarray) -> int:
    """Return how many layers come first, where no pair is needed but those of one of them with one of the others; else 0."""
    wanted = needed | needed.T
    np.fill_diagonal(wanted, False)
    first = int(np.argmax(wanted[0])) if wanted.any() else 0
    return 0 if wanted[:first, :first].any() or wanted[first:, first:].any() else first


def _tiles_of(gram: Gram) -> Any:
    """Return what forms tiles of a structure; None where they are products of rows."""
    return gram if isinstance(gram, SparseGram) else None


def _itself(x: Any) -> Any:
    return x


def _squared(pair: Any, x: Any, y: Any, product: Array) -> Array:
    squared = squared_norm(precise(product))
    return squared if is_elsewhere(squared) else scalar(squared)


def _known(values: dict[tuple[int, int], Any]) -> dict[tuple[int, int], Any]:
    """Return values as numbers; those of a device are fetched together."""
    if not any(map(is_elsewhere, values.values())):
        return values
    return dict(zip(values, all_to_numpy(list(values.values())), strict=True))


def _radial_products(grams: Sequence[Any], form: Form, workers: Workers, step: Step) -> tuple[np.ndarray, np.ndarray]:
    """Return off-diagonal inner products of kernels of distances, and (layers, n) their diagonals.

    Centring removes whatever is added to whole rows and columns of a structure. Means of the rows, estimated from a few columns,
    are subtracted before the products, so that the exact ones, known only at the end, leave little to cancel.
    """
    assert form.panels is not None  # all structures are tiled
    tiled = [Structure(x.points, x.kernel) for x in grams]
    total, along = tile_products(tiled, form.panels, workers, step, form.share)
    own, n = np.stack([x.diagonal for x in grams]), grams[0].n
    means = along / n
    # ⟨HKH, HLH⟩ = ⟨K, L⟩ − 2/n k·l + Σk Σl / n², k and l the row sums.
    whole = total + own @ own.T - 2 * n * means @ means.T + n * n * np.outer(means.mean(axis=1), means.mean(axis=1))
    diagonals = own - 2 * means + means.mean(axis=1, keepdims=True)
    return whole - diagonals @ diagonals.T, diagonals


def sums_without_each(x: Gram) -> GramSums:
    """Return what the estimators need of one representation without each example, as fields over the examples left out."""
    inner, diagonals, traces = _products_without_each(x, x)
    trace = np.mean([trace_without_each(half) for half in halves_of(x)], axis=0)
    return GramSums(inner, diagonals, trace, traces, to_numpy(x.scale), to_numpy(x.constant), x.epsilon)


def without_each(x: Gram, y: Gram, sides: tuple[GramSums, GramSums] | None = None) -> GramProducts:
    """Return the statistics without each example, as fields over the examples left out; `sides` where they are known."""
    own = (sums_without_each(x), sums_without_each(y)) if sides is None else sides
    inner, diagonals, traces = _products_without_each(x, y)
    return GramProducts(x.n - 1, inner, diagonals, traces, *own)


def _products_without_each(x: Gram, y: Gram) -> np.ndarray:
    """Return (3, n) the off-diagonal part of ⟨K, L⟩, k·l and tr K · tr L without each example."""
    halves = Halves.of([x], [y])
    found = np.zeros((x.n, 3, len(halves.xs), len(halves.ys)))
    for i, one in enumerate(halves.xs):
        for j, other in enumerate(halves.ys):
            if halves.weights[i, j] > 0:
                traces = trace_without_each(one) * trace_without_each(other)
                found[:, :, i, j] = np.stack([*inner_without_each(one, other), traces], axis=1)
    return halves.together(found)[:, :, 0, 0].T


STRUCTURE = StructureFamily()
