"""How much each block of a deep network changes what goes through it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from homolog.analysis.redundant.evidence import Loss, losses, probed
from homolog.analysis.redundant.findings import Findings
from homolog.analysis.redundant.massive_features import Remove
from homolog.analysis.redundant.reading import FORMS
from homolog.analysis.redundant.residual_stream import Part, stream_of
from homolog.analysis.redundant.spectra import check_memory
from homolog.arrays import described
from homolog.diagnostics import Caution, HomologWarning, give
from homolog.engine.comparing import compare
from homolog.machine import parse_bytes
from homolog.measures.record import Measure
from homolog.measures.registry import measure as registered
from homolog.progress import progress_bar

if TYPE_CHECKING:
    import xarray


def redundancy(
    activations: Any,
    *,
    blocks: str | Sequence[str] | None = None,
    measure: str | Measure | Callable[..., Any] = "cka(estimator=debiased)",
    remove_features: Remove = "massive",
    labels: Any = None,
    loss: Loss | None = None,
    memory: str | int = "2GiB",
    progress: bool | None = None,
) -> xarray.Dataset:
    """Say how much each block of a deep network changes what goes through it, and which run of blocks changes least.

    Parameters
    ----------
    activations
        layers of one model over the same rows, as `compare` takes them: the input of the first block, then the output of each
        block, all of equal width. Rows are examples, or tokens (`homolog.extract(..., reduce="positions")`).
    blocks
        names or globs of these layers, the input of the first block first; by default all layers, of which the longest run of
        equal width is taken. Names that differ in numbers alone are put into the order of the numbers.
        In models of Hugging Face: `["model.embed_tokens", "model.layers.*"]` (Llama, Qwen, Mistral),
        `["transformer.drop", "transformer.h.*"]` (GPT-2); vision transformers of timm: `["norm_pre", "blocks.*"]`; a stage of a
        ResNet: `"layer3.*"`; an nn.Sequential: the numbers of its blocks.
    measure
        what all layers are compared by, beside cosines.
    remove_features
        "massive" gives every number without massive features, too, where there are any; or the numbers of the features, counted
        from 0; None for neither.
    labels
        (n,) class of every row: adds the accuracy of `homolog.probe` on every layer.
    loss
        function of the caller's: of a tuple of names of blocks it returns the loss of the network without them. It is called
        with (), with each block, and with the best run of each length. NaN and infinity are kept, and told in `notes`.
    memory
        most that is taken beyond layers given as arrays; layers on disk are read in blocks of rows.
    progress
        show a progress bar; by default in a terminal and in a notebook.

    Returns
    -------
    xarray.Dataset
        Over `block` (called after its output): `influence`, 1 − mean cosine of input and output of each row, in [0, 2];
        `norm_growth`, the mean norm of the output over that of the input. Over (block, span): `angular_distance`, the mean over
        rows of arccos(cosine)/π between the input of the block and the output of the span-th block from it, in [0, 1]; NaN
        beyond the last block. Over `span`: `best_start`, the first block of the run of so many blocks of least angular
        distance, its `best_value`, and `best_ties`, how many runs share it. Over (layer, layer_b): `cka`, or what `measure`
        is called. Over `layer`: `effective_rank`, exp of the entropy of the shares of the singular values of the centred
        layer; `participation_ratio`, (Σ λ)²/Σ λ² of the eigenvalues of its covariance; `norm` and `norm_median` of rows;
        `mean_share`, the share of the squared norm that the mean row has; `top_feature` and `top_share`, the features that
        hold most of the squared norm; `top_position` and `top_position_share` where positions are known.

        `<variable>_without` is the same without the removed features, `<variable>_without_rows` without outlying rows,
        and `<variable>_without_both` without either. Outlying are rows whose norm is over 10 times the median in some layer, if
        these are at most 5 % of the rows and hold 10 % of the squared norm of some layer; and, however many, the tokens of an
        attention sink (as `homolog.diagnose` finds it). The attributes `massive_features`, `outlying_rows` and
        `attention_sinks` (JSON) say which they are, `notes` how layers were chosen, `caution` what not to conclude. With labels
        `accuracy`; with a loss `loss` (block), `best_loss` (span) and the attribute `baseline_loss`.

    Raises
    ------
    ValueError, TypeError, KeyError
        For layers that are no residual stream, or do not fit into the memory, in one sentence.

    Warns
    -----
    LeftOutWarning, NoDirectionWarning, ConstantLayerWarning
        If layers differ in width, rows are 0, or a layer never varies.

    Notes
    -----
    Cosines are of the rows as they are, as published, and not centred: what all rows have in common makes them alike. A single
    massive feature, or a large mean, brings every cosine near 1; hence the numbers without them. A feature is massive by a
    value above 100 and above 1000 times the median magnitude (Sun et al.; of what is not 0 in a row the median, of about 1,000
    rows the median), or if features with mean squares above 100 times that of the median feature, at most one in 8, hold 10 %
    of the squared norm or more. The first of the two depends on the unit, as published. Features are left out of all layers.
    Gromov et al. take angles at the last token alone: extract with reduce="last" for that. Medians are of all rows, or of some
    drawn by chance, always the same, where their norms do not fit into a quarter of the memory.

    There are no groups= here: nothing but the accuracy of the probe has a standard error, which counts whole examples where
    rows are tokens; `homolog.probe(..., groups=)` takes larger units. Indexes are of the rows as they are.

    Cost: n·p·L² + n·p²·L² for L layers, from layers on disk that are read twice, where the measure is linear (CKA, HSIC), rows
    outnumber features, and a quarter of the memory holds 6·(p·L)² numbers: every form then follows from the same sums in float64.
    Otherwise n·p·L² + n·p²·L + p³·L, or n²·p·L + n³·L instead of the last two where n < p, and that of `compare` in each form;
    layers on disk are read three times, and as often as `compare` reads them.

    References
    ----------
    Men et al. (2024), ShortGPT, arXiv 2403.03853 (Block Influence); Gromov et al. (2024), The unreasonable ineffectiveness of
    the deeper layers, arXiv 2403.17887 (angular distance); Sun et al. (2024), Massive activations in large language models,
    arXiv 2402.17762; Roy & Vetterli (2007), The effective rank.

    Examples
    --------
    >>> import numpy as np, homolog as hl
    >>> rng = np.random.default_rng(0)
    >>> stream = {"embed": rng.normal(size=(200, 16))}
    >>> for i, size in enumerate([1, 0.001, 1]):
    ...     last = list(stream.values())[-1]
    ...     stream[f"block.{i}"] = last + size * rng.normal(size=last.shape)
    >>> found = hl.redundancy(stream)
    >>> found.best_start.sel(span=1).item()
    'block.1'
    """
    import xarray

    record = registered(measure)
    if loss is not None and not callable(loss):
        raise TypeError(
            f"loss must be a function of a tuple of names of blocks, got {described(loss)}: pass a function."
        )
    stream = stream_of(activations, blocks)
    size = parse_bytes(memory)
    n = stream.layers.n
    check_memory(n, stream.width, size)
    found = Findings(stream, size, remove_features, record)
    with progress_bar("rows", found.passes * n * len(stream.layers), progress) as shown:
        found.pass_over(shown)
    variables, about = found.variables(), found.attributes()
    if _name(record) in variables:
        raise ValueError(
            f"{_name(record)!r} is a variable of the result already: register the measure under another name."
        )
    compared, cautions = _compared(found, record, size, progress)
    variables |= compared
    if labels is not None:
        more, told = probed(stream, labels, progress)
        variables, about = variables | more, about | told
    if loss is not None:
        more, told, notes = losses(loss, stream.names[1:], found.best, progress)
        variables, about = variables | more, about | told
        about["notes"] = json.dumps(json.loads(about["notes"]) + notes, ensure_ascii=False)
    cautions = [*stream.cautions, *found.cautions(), *cautions]
    give(cautions)
    about["measures"] = json.dumps([_name(record)])
    about["warnings"] = json.dumps([[c.category.__name__, c.message] for c in cautions], ensure_ascii=False)
    return xarray.Dataset(variables, found.coordinates(), about)


def _name(record: Measure) -> str:
    """Return what the variable of a measure is called."""
    return str(record).partition("(")[0]


def _compared(
    found: Findings, record: Measure, memory: int, progress: bool | None
) -> tuple[dict[str, Any], list[Caution]]:
    """Return all layers compared with each other, in every form, and the warnings of the comparison of them as they are."""
    layers, name = found.stream.layers, _name(record)
    asked = {name: replace(record, order_score=None, order_matrix=None)}  # nobody asks for p-values
    variables: dict[str, Any] = {}
    cautions: list[Caution] = []
    for suffix, part in found.forms.items():
        if found.sums is not None:
            result, told = _quietly(partial(found.sums.moments(part).finalise, asked))
        else:
            given: Mapping[str, Any] = layers
            if suffix:
                given = {layer: Part(rows, *part) for layer, rows in zip(layers, found.rows, strict=True)}
            result, told = _quietly(partial(compare, given, measures=asked, memory=memory, progress=progress))
        more = {"companion_of": name, "meaning": f"the same {FORMS[suffix]}"} if suffix else {}
        variables[name + suffix] = (("layer", "layer_b"), result[name].values, result[name].attrs | more)
        cautions += told if not suffix else []
    return variables, cautions


def _quietly(run: Callable[[], xarray.Dataset]) -> tuple[xarray.Dataset, list[Caution]]:
    """Compare layers, and return the warnings instead of giving them."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", HomologWarning)
        result = run()
    ours = [each.message for each in told if isinstance(each.message, HomologWarning)]
    for each in told:
        if each.message not in ours:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    return result, [Caution(type(each), str(each)) for each in ours]
