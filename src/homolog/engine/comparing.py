"""The public doors of the engine."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from homolog.activations import identified
from homolog.diagnostics import give
from homolog.engine.inputs import Measures, Pairs, Source
from homolog.engine.planning import Plan, make_plan
from homolog.engine.result import dataset, equalities
from homolog.engine.run import run
from homolog.inference.resampling import Method
from homolog.inference.uncertainty import Requested, interval_by_name
from homolog.pairing import row_identity
from homolog.renamed import renamed
from homolog.warning_sentences import unknown_pairing

if TYPE_CHECKING:
    import xarray

DEFAULT = ("cka(estimator=debiased)", "cka")


@renamed(interval=interval_by_name)
def compare(
    a: Source,
    b: Source | None = None,
    *,
    measures: Measures = DEFAULT,
    pairs: Pairs = "all",
    names: Sequence[str] | None = None,
    executor: Executor | None = None,
    memory: str | int | None = None,
    progress: bool | None = None,
    null: Literal["permutation"] | None = None,
    interval: bool = False,
    n_permutations: int = 999,
    calibrate: bool = False,
    groups: Any = None,
    level: float = 0.95,
    method: Method = "jackknife",
    rng: int | np.random.Generator = 0,
) -> xarray.Dataset:
    """Compare every layer of one model with every layer of another, or of itself, or of many models with each other.

    Parameters
    ----------
    a, b
        array (n, p), mapping of layer names to arrays, Activations, or path of a file that `homolog.open` reads. For an array a
        DataFrame will do, an array of xarray, a list of vectors, or a sparse matrix. Without b, a is compared with itself. Many
        models at once: a mapping of model names to any of these, without b.
    measures
        text forms ("cka(kernel=rbf)"), bound measures, functions of two arrays, a sequence of these, or a mapping
        {name of the variable: any of these}. By default debiased linear CKA, which is about 0 for independent layers, and
        beside it the biased CKA of the paper.
    pairs
        "all", "same_name", or a list of (layer_a, layer_b); with many models of ((model, layer), (model, layer)).
    names
        what the two models are called in the result: ("before", "after"); by default as their files or classes. Of a mapping of
        many models, two of its names: these two are compared, in the form of two models.
    executor
        a concurrent.futures.Executor, such as ProcessPoolExecutor() or the get_executor() of a dask client: its workers compute
        what is computed of layers on disk, which they find by the path, each within `memory` and with one BLAS thread.
    memory
        most that is taken beyond layers given as arrays: prepared layers, and what is formed and thrown away. Where all layers
        do not fit at once they are read block by block or compared a few at a time, wherever they lie, or refused with the
        memory that would do; see `plan`. By default 2 GiB. Of tensors on a GPU it is the memory of the GPU, by default nine
        tenths of what is free there; what does not fit into it is copied to the host and compared there, within as much, by
        default 2 GiB.
    progress
        show a progress bar; by default in a terminal and in a notebook.
    null
        "permutation" takes `<measure>_p` and `<measure>_p_fdr` of every measure from `n_permutations` random orders of the
        examples of b, and `<measure>_null` where no formula gives it; it adds `<measure>_p_fwer`, adjusted for all pairs by the
        largest standardised value.
    interval
        whether to add `<measure>_se`, `_low` and `_high` over examples.
    calibrate
        whether to add `<measure>_calibrated`: max((s - t) / (s_best - t), 0), where s_best is the value of equal layers and the
        threshold t how far chance reaches, `<measure>_threshold`. It is 0 for a value that random orders of the examples reach
        with a probability over 1 - level, and 1 for equal layers; of a distance likewise. Asks for null="permutation" by itself
        (Gröger, Wen & Brbić 2026, arXiv:2602.14486).
    groups
        (n,) labels of units that are independent of each other, such as documents or subjects. An interval leaves out whole
        units (see `confidence_interval`); permutations exchange examples within units only (see `permutation_test`). Where both
        are asked for, both hold: ask apart where they must not, as within classes but over examples. Without groups, where ids
        of examples repeat since rows are tokens, intervals leave out whole examples, and permutations exchange whole examples of
        as many rows. P-values and null levels by formula are for independent rows, and are left out where units have several.
    level, method
        of the intervals; see `confidence_interval`. The threshold of calibrated scores is that of p <= 1 - level.
    rng
        seed or NumPy generator for orders and parts.

    Returns
    -------
    xarray.Dataset
        One variable (layer_a, layer_b) per measure, NaN where not asked; with many models (a, b) over all their layers, with
        the coordinates model_a, layer_a, model_b, layer_b. `<measure>_null` is the level that independent data would
        reach, where there is a formula; `<measure>_p` the probability of a value at least as alike for independent layers,
        where the moments over all orders of the examples have a formula (CKA, HSIC and distance correlation), and
        `<measure>_p_fdr` the same, adjusted for all pairs (false discovery rate, Benjamini-Hochberg); `<measure>_reversed` the
        value of (b, a) for asymmetric measures. Where activations know it, `type_a` and `shape_a` say which module made a
        layer and what it puts out for one example. Attributes carry
        kind, range and formula, the number of examples, the warnings, and in `row_identity` how it is known that rows are
        the same examples: "example ids", "digests of inputs", "one model" or "unknown".

    Raises
    ------
    ValueError, TypeError, KeyError
        For input that cannot be compared, in one sentence: expected, got, remedy.

    Warns
    -----
    ConstantLayerWarning, DeadUnitWarning, SaturationWarning, NullLevelWarning, UndefinedValueWarning,
    TiesWarning, NoDirectionWarning, FewPermutationsWarning, BiasWarning, UnknownPairingWarning, LeftOutWarning, DenseWarning,
    SketchNoiseWarning
        Once per comparison and kind.

    Notes
    -----
    The decomposition of a layer is shared by all pairs, and the product of a pair by all measures of a family. The
    prepared layers are held together, in float64; of 1,024 examples or more, float32 ones as float32 in the structure and
    dissimilarities families, where distances differ by more than its rounding. Of layers on disk
    that do not fit, blocks of rows are read as often as the memory demands, for the structure, subspace and neurons families.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> rng = np.random.default_rng(0)
    >>> first = {"early": rng.normal(size=(200, 4)), "late": rng.normal(size=(200, 3))}
    >>> second = {"early": first["early"] @ np.diag([1, -1, 1, -1]), "late": 2 * first["late"] + 1}
    >>> result = hl.compare(first, second, measures="cka")
    >>> result.cka.sel(layer_a="late", layer_b="late").item()
    1.0
    """
    asked = Requested.of(
        null,
        calibrate,
        interval=interval,
        n_permutations=n_permutations,
        groups=groups,
        level=level,
        method=method,
        rng=rng,
    )
    planned = make_plan(a, b, measures, pairs, memory, asked, executor, names)
    known = row_identity(list(planned.models.values()))
    outcome = run(planned, progress)
    if known == "unknown" and all(map(identified, planned.models.values())):
        outcome.cautions = unknown_pairing(list(planned.models)) + outcome.cautions
    give(outcome.cautions)
    equal = {} if b is a else equalities(planned)
    return dataset(planned, outcome).assign_attrs(row_identity=known, **equal)


@renamed(interval=interval_by_name)
def plan(
    a: Source,
    b: Source | None = None,
    *,
    measures: Measures = DEFAULT,
    pairs: Pairs = "all",
    names: Sequence[str] | None = None,
    executor: Executor | None = None,
    memory: str | int | None = None,
    progress: bool | None = None,
    null: Literal["permutation"] | None = None,
    interval: bool = False,
    n_permutations: int = 999,
    calibrate: bool = False,
    groups: Any = None,
    level: float = 0.95,
    method: Method = "jackknife",
    rng: int | np.random.Generator = 0,
) -> Plan:
    """Say what `compare` would compute, in which form, and at what cost, without computing it.

    Parameters
    ----------
    a, b, measures, pairs, names, executor, memory, null, interval, n_permutations, calibrate, groups, level, method, rng
        as for `compare`; what permutations and parts of the examples take is counted.
    progress
        of no effect here: nothing is computed.

    Returns
    -------
    Plan
        Prints one line per group of measures that share their operands; `.flops` and `.bytes` are the totals.

    Raises
    ------
    ValueError, TypeError, KeyError
        As `compare` would.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> layers = {f"layer {i}": np.random.default_rng(i).normal(size=(500, 100)) for i in range(4)}
    >>> print(hl.plan(layers, measures=("cka", "cka(estimator=debiased)", "cca")))
    16 pairs of layers of a (4 layers), n = 500
      cka, cka(estimator=debiased): structure family, through features; 8e+07 floating-point operations, ... MiB
      cca: subspace family, pair by pair; 3.7e+08 floating-point operations, ... MiB
    in all 4.5e+08 floating-point operations, at most ... MiB at a time
    """
    asked = Requested.of(
        null,
        calibrate,
        interval=interval,
        n_permutations=n_permutations,
        groups=groups,
        level=level,
        method=method,
        rng=rng,
    )
    planned = make_plan(a, b, measures, pairs, memory, asked, executor, names)
    _ = planned.measure_groups  # what cannot be done is said here, not when the plan is printed
    return planned
