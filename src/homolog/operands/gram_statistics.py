"""Structure family: centred n×n similarity structures, and their inner products (HSIC, CKA).

Every statistic comes from the centred Gram matrix K = HKH: the off-diagonal part of the inner product ⟨K, L⟩, the diagonals
k, l and the traces. U-centring removes what is additive in rows and columns, and so does centring; hence for every kernel

    ⟨K, L⟩ = off + k·l,        ⟨Ã, B̃⟩ = off − 2/(n−2) · k·l + tr K · tr L / ((n−1)(n−2)),

and the biased and the debiased estimators share one operand and one inner product (Székely & Rizzo 2014).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal, NamedTuple

import numpy as np

from homolog.arrays import Array, machine_epsilon, namespace, precise, to_numpy
from homolog.blocks.workers import Workers
from homolog.diagnostics import Caution, constant_layers, missing_inputs, nothing_left, without_width
from homolog.operands.blocked import BlockedForm, Task, plan_structures, structures
from homolog.operands.condensed import Points
from homolog.operands.family import Family, Invariances, OnDisk
from homolog.operands.gram import Kernel, Structure, enlarged, exact, prepare, products, reorder
from homolog.operands.leave_one_out import inner_without_each, trace_without_each
from homolog.operands.permuted import permuted_inner_products
from homolog.operands.walk import Each, WalkForm, choose, cost, inner_products
from homolog.rows import Rows

Estimator = Annotated[Literal["biased", "debiased"], '"biased" or "debiased" (n >= 4).']


class Side(NamedTuple):
    """What the estimators need of one side of a pair, or of many: fields broadcast against each other."""

    inner: Array
    """Off-diagonal part of ⟨K, K⟩."""
    diagonals: Array
    """k·k."""
    trace: Array
    scale: Array
    constant: Array
    epsilon: Array | float
    """Spacing at 1 of the floats in which the Gram matrix was formed."""


class Meeting(NamedTuple):
    """What the estimators need of a pair (0-d fields), or of all pairs at once (fields over layers of x, layers of y)."""

    n: int
    inner: Array
    """Off-diagonal part of ⟨K, L⟩."""
    diagonals: Array
    """k·l."""
    x: Side
    y: Side

    def swapped(self) -> Meeting:
        """The meeting of (y, x); of one pair."""
        return self._replace(x=self.y, y=self.x)


def meet(x: Structure, y: Structure) -> Meeting:
    """Return all statistics of one pair."""
    cross = x.own if y is x else products(x, y)
    return Meeting(x.n, *cross, side(x, *x.own), side(y, *y.own))


def side(x: Structure, inner: Array, diagonals: Array) -> Side:
    """Return what the estimators need of one representation."""
    return Side(inner, diagonals, namespace(x.diagonal).sum(x.diagonal), precise(x.scale), x.constant, x.epsilon)


def numerator(n: int, inner: Array, diagonals: Array, traces: Array, estimator: Estimator) -> Array:
    """⟨K, L⟩ (biased) or ⟨Ã, B̃⟩ (debiased), from centred statistics."""
    if estimator == "biased":
        return inner + diagonals
    return inner - 2 / (n - 2) * diagonals + traces / ((n - 1) * (n - 2))


def norm(own: Side, n: int, estimator: Estimator) -> Array:
    """Norm that CKA divides by: square root of the estimator's self-term."""
    xp = namespace(own.inner)
    squared = numerator(n, own.inner, own.diagonals, own.trace**2, estimator)
    # U-centring can leave nothing but rounding, for instance of one example that differs from all others.
    vanishes = squared <= n * own.epsilon * (own.inner + own.diagonals)
    return xp.sqrt(xp.where(vanishes, xp.full_like(squared, float("nan")), squared))


def examine(operands: Mapping[str, Structure], pairs: Sequence[tuple[str, str]]) -> list[Caution]:
    """Name the constant layers, and say where no inputs were given whose similarity could be removed."""
    explained = [label for label, operand in operands.items() if operand.explained]
    no_width = [label for label, operand in operands.items() if operand.no_width]
    told = (*explained, *no_width)
    constant = [label for label, operand in operands.items() if bool(operand.constant) and label not in told]
    found = constant_layers(constant) + nothing_left(explained) + without_width(no_width)
    return found + missing_inputs([label for label, operand in operands.items() if operand.lacks_inputs])


def meet_all(
    structures: Sequence[Structure],
    needed: np.ndarray,
    form: WalkForm,
    each: Each,
    step: Callable[[float], None],
) -> Meeting:
    """Return the statistics of all pairs at once, as NumPy arrays over (layers, layers)."""
    inner, diagonals = inner_products(structures, needed, form, each, step)
    own = _stacked(structures, np.diag(inner), np.diag(diagonals))
    return Meeting(structures[0].n, inner, diagonals, _along(own, (-1, 1)), _along(own, (1, -1)))


def meet_all_on_disk(
    rows: Sequence[Rows],
    titles: Sequence[str],
    task: Task,
    form: BlockedForm,
    workers: Workers,
    step: Callable[[float], None],
    *,
    kernel: Kernel | Literal["distance"],
    median_fraction: float = 1.0,
) -> tuple[list[Structure], Meeting]:
    """Return operands without features, and the statistics of all pairs, of representations that stay on disk."""
    options = {"kernel": kernel, "median_fraction": median_fraction}
    summaries, inner, diagonals = structures(rows, titles, task, form, workers, step, **options)
    operands = []
    for summary, diagonal in zip(summaries, diagonals, strict=True):
        epsilon = machine_epsilon(np.empty(0, dtype=summary.dtype))
        constant = summary.constant or (kernel != "linear" and not diagonal.max() > task.n * epsilon)
        wide = enlarged(median_fraction) if kernel == "rbf" else 1.0
        no_width = summary.no_width and not constant
        scale = np.asarray(summary.columns.scale if kernel == "linear" else 1 / wide)
        # Nothing is formed of it any more; the dtype says in what the structure was.
        none = np.empty((0, 0), dtype=summary.dtype)
        undefined = np.asarray(constant or no_width)
        operands.append(Structure(task.n, none, None, None, diagonal, scale, undefined, no_width=no_width))
    products = diagonals @ diagonals.T
    own = _stacked(operands, np.diag(inner), np.diag(products))
    return operands, Meeting(task.n, inner, products, _along(own, (-1, 1)), _along(own, (1, -1)))


def _stacked(structures: Sequence[Structure], inner: np.ndarray, diagonals: np.ndarray) -> Side:
    """Return what the estimators need of many representations, with fields over them."""
    sides = [side(x, x.diagonal, x.diagonal) for x in structures]
    trace, scale, constant = (np.array([to_numpy(s[k]) for s in sides]) for k in (2, 3, 4))
    return Side(inner, diagonals, trace, scale, constant, np.array([s.epsilon for s in sides]))


def _along(own: Side, shape: tuple[int, int]) -> Side:
    return Side(*(np.reshape(field, shape) for field in own))


def permuted(
    xs: Sequence[Structure], ys: Sequence[Structure], needed: np.ndarray, memory: int
) -> Callable[[np.ndarray], Meeting]:
    """Return order → the statistics of all pairs with the examples of y in this order, over (x, y)."""
    inner = permuted_inner_products(xs, ys, needed, memory)
    owns = [_stacked(part, *(np.array([to_numpy(s.own[k]) for s in part]) for k in (0, 1))) for part in (xs, ys)]
    rows, columns = _along(owns[0], (-1, 1)), _along(owns[1], (1, -1))
    first, second = (np.stack([to_numpy(s.diagonal) for s in part]) for part in (xs, ys))
    n = xs[0].n
    return lambda order: Meeting(n, inner(order), first @ second[:, order].T, rows, columns)


def without_each(x: Structure, y: Structure) -> Meeting:
    """Return the statistics without each example, as fields over the examples left out."""
    sides = [
        Side(
            *inner_without_each(own, own),
            trace_without_each(own),
            to_numpy(own.scale),
            to_numpy(own.constant),
            own.epsilon,
        )
        for own in (x, y)
    ]
    return Meeting(x.n - 1, *inner_without_each(x, y), *sides)


STRUCTURE = Family(
    "structure",
    prepare,
    meet,
    Meeting.swapped,
    examine,
    options=("kernel", "median_fraction", "inputs"),
    choose=choose,
    meet_all=meet_all,
    cost=cost,
    reorder=reorder,
    permuted=permuted,
    float32="all pairs",
    exact=exact,
    host=True,
    begin=Points,
    on_disk=OnDisk(plan_structures, meet_all=meet_all_on_disk),
    record={"symmetric": True, "differentiable": True, "invariances": Invariances(orthogonal="xy")},
)
