"""How much each block of a deep network changes what goes through it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from homolog.analysis.redundant.evidence import Loss, losses, probed
from homolog.analysis.redundant.massive_features import (
    CRITERION,
    Remove,
    are_left_out,
    massive,
    positions_of,
    removed_features,
    told_features,
    told_rows,
)
from homolog.analysis.redundant.residual_stream import Part, Stream, stream_of
from homolog.analysis.redundant.row_sums import Angles, Look, angles_of, looked_at
from homolog.analysis.redundant.spectra import Spread, check_memory, spreads
from homolog.diagnostics import Caution, HomologWarning, give, without_direction
from homolog.engine.comparing import compare
from homolog.machine import parse_bytes
from homolog.measures.record import Measure
from homolog.measures.registry import measure as registered
from homolog.progress import progress_bar

if TYPE_CHECKING:
    import xarray
    from collections.abc import Mapping

TITLE = "homolog redundancy"
TIE = 1e-9
"""Runs of blocks whose angular distances differ by less are told as equal."""
TOP = 5
"""Features of a layer whose shares are told."""
CAUTION = (
    "A small change of the representation is a poor proxy for the damage of removing a block: over many language models its "
    "correlation with the loss of accuracy is often weak or moderate (arXiv 2605.14075), and removing blocks by cosine alone "
    "can break a model (arXiv 2604.19520). Remove the blocks and measure."
)
WITHOUT, WITHOUT_ROWS = "_without", "_without_rows"
MEANINGS = {WITHOUT: "the same without the removed features", WITHOUT_ROWS: "the same without the outlying rows"}


def redundancy(
    activations: Any,
    *,
    blocks: str | Sequence[str] | None = None,
    measure: str | Measure = "cka(estimator=debiased)",
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
        with (), with each block, and with the best run of each length.
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

        `<variable>_without` is the same without the removed features, `<variable>_without_rows` without rows whose norm is
        over 10 times the median in some layer, if these are at most 5 % of the rows and hold 10 % of the squared norm of some
        layer. The attributes `massive_features` and `outlying_rows` (JSON) say which they are, `notes` how layers were chosen,
        `caution` what not to conclude. With labels `accuracy`; with a loss `loss` (block), `best_loss` (span) and the
        attribute `baseline_loss`.

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
    value above 100 and above 1000 times the median magnitude (Sun et al.; the median feature of the median row, of up to
    1,000 rows), or if features with mean squares above 100 times that of the median feature, at most one in 8, hold 10 % of
    the squared norm or more. Features are left out of all layers. Gromov et al. take angles at the last token alone: extract
    with reduce="last" for that. Medians are of all rows, or of every k-th where their norms do not fit into a quarter of
    the memory.

    Cost: n·p·L² for L layers, and that of `compare`; layers on disk are read three times, and as often as `compare` reads them.

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

    record = registered(measure) if isinstance(measure, str) else measure
    stream = stream_of(activations, blocks)
    size = parse_bytes(memory)
    n = stream.layers.n
    check_memory(n, stream.width, size)
    found = _Found(stream, size, remove_features)
    with progress_bar("rows", 3 * n * len(stream.layers), progress) as shown:
        found.pass_over(shown)
    variables, about = found.variables(), found.attributes()
    compared, cautions = _compared(found, record, size, progress)
    variables |= compared
    if labels is not None:
        more, told = probed(stream, labels, progress)
        variables, about = variables | more, about | told
    if loss is not None:
        more, told = losses(loss, stream.names[1:], found.best, progress)
        variables, about = variables | more, about | told
    cautions = [*stream.cautions, *found.cautions(), *cautions]
    give(cautions)
    about["measures"] = json.dumps([_name(record)])
    about["warnings"] = json.dumps([[c.category.__name__, c.message] for c in cautions], ensure_ascii=False)
    return xarray.Dataset(variables, found.coordinates(), about)


class _Found:
    """What the passes over the rows find, and how the result has it."""

    def __init__(self, stream: Stream, memory: int, remove: Remove) -> None:
        self.stream, self._memory, self._remove = stream, memory, remove
        self.rows = stream.rows()
        self._positions = positions_of(stream.layers)
        self.spans = max(1, len(self.rows) - 2)
        self.look: Look
        self.columns: np.ndarray | None = None
        """Features that are kept where some are removed."""
        self.kept: np.ndarray | None = None
        """Rows that are kept where outlying ones are left out."""

    def pass_over(self, shown: Any) -> None:
        """Read all layers: once for lengths, once for angles, and each layer once for its spectrum."""
        names = self.stream.names
        codes = None if self._positions is None else self._positions.codes
        self.look = looked_at(self.rows, names, codes, self._memory, shown)
        self.massive = massive(self.look)
        self.removed = removed_features(self._remove, self.massive)
        if len(self.removed):
            self.columns = np.setdiff1d(np.arange(self.stream.width), self.removed)
        choices = [None] + [self.columns] * (self.columns is not None)
        medians = self.look.medians()
        self.angles, self.flags, self.outlying = angles_of(self.rows, choices, medians, self.look, self._memory, shown)
        left_out = are_left_out(self.flags, self.outlying)
        self.kept = np.flatnonzero(~self.flags) if left_out else None
        self.spectra = []
        for rows in self.rows:
            self.spectra.append(spreads(rows, self.columns, self.flags if left_out else None, self._memory))
            shown.update(rows.shape[0])

    def forms(self) -> dict[str, tuple[Angles, bool]]:
        """Return suffix → the sums, and whether only ordinary rows count."""
        found = {"": (self.angles[0], False)}
        if self.columns is not None:
            found[WITHOUT] = (self.angles[1], False)
        if self.kept is not None:
            found[WITHOUT_ROWS] = (self.angles[0], True)
        return found

    @property
    def best(self) -> list[int]:
        """The first block of the best run of each length, −1 where no row has a direction."""
        return [start for start, *_ in _best_runs(self._distances(self.angles[0], False))]

    def _distances(self, angles: Angles, ordinary: bool) -> np.ndarray:
        """(blocks, spans) angular distances, NaN beyond the last block."""
        means = angles.mean(angles.angles, ordinary=ordinary)
        blocks = len(means) - 1
        found = np.full((blocks, self.spans), np.nan)
        for span in range(1, self.spans + 1):
            found[: blocks - span + 1, span - 1] = np.diagonal(means, span)
        return found

    def variables(self) -> dict[str, Any]:
        """Return every variable but those of the comparison."""
        found: dict[str, Any] = {}
        spreads = dict(zip(("", WITHOUT, WITHOUT_ROWS), zip(*self.spectra, strict=True), strict=True))
        for suffix, (angles, ordinary) in self.forms().items():
            for name, (dims, values, about) in self._of_form(angles, ordinary, spreads[suffix]).items():
                more = {"companion_of": name, "meaning": MEANINGS[suffix]} if suffix else {}
                found[name + suffix] = (dims, values, about | more)
        return found | self._shares()

    def _of_form(self, angles: Angles, ordinary: bool, spread: Sequence[Spread | None]) -> dict[str, Any]:
        cosines = np.diagonal(angles.mean(angles.cosines, ordinary=ordinary), 1)
        distances = self._distances(angles, ordinary)
        runs = _best_runs(distances)
        names = self.stream.names[1:]
        kinds = slice(0, 1) if ordinary else slice(0, 2)
        counted = np.count_nonzero(~self.flags) if ordinary else len(self.flags)
        norms = angles.total_norm[kinds].sum(axis=0) / counted
        with np.errstate(invalid="ignore", divide="ignore"):
            growth = norms[1:] / norms[:-1]
        found: dict[str, Any] = {
            "influence": ("block", 1 - cosines, INFLUENCE),
            "angular_distance": (("block", "span"), distances, ANGULAR),
            "best_start": ("span", [names[start] if start >= 0 else "" for start, *_ in runs], BEST),
            "best_value": ("span", np.array([value for _, value, _ in runs]), ANGULAR),
            "best_ties": ("span", np.array([ties for *_, ties in runs], dtype=np.int32), {}),
            "norm_growth": ("block", growth, {"long_name": "norm of the output over that of the input"}),
            "norm": ("layer", norms, {"long_name": "mean norm of the rows"}),
        }
        if not ordinary:
            medians = np.array([np.median(np.concatenate(parts)) for parts in angles.norms])
            found["norm_median"] = ("layer", medians, {"long_name": "median norm of the rows"})
        ranks = np.array([each for each in spread if each is not None]).reshape(-1, 2)
        found["effective_rank"] = ("layer", ranks[:, 0], EFFECTIVE_RANK)
        found["participation_ratio"] = ("layer", ranks[:, 1], {"formula": "(Σ λ)² / Σ λ²"})
        return found

    def _shares(self) -> dict[str, Any]:
        """Return what the mean, the largest features and the largest position hold of the squared norm."""
        look, n = self.look, self.stream.layers.n
        total = look.squares.sum(axis=1)
        top = np.argsort(-look.squares, axis=1, kind="stable")[:, : min(TOP, self.stream.width)]
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = np.take_along_axis(look.squares, top, axis=1) / total[:, None]
            mean = np.square(look.totals).sum(axis=1) / n / total
            held = None if look.by_position is None else look.by_position / total[:, None]
        about = {"long_name": "share of the squared norm", "range": "[0, 1]"}
        found: dict[str, Any] = {
            "mean_share": ("layer", mean, about),
            "top_feature": (("layer", "place"), top.astype(np.int32), {}),
            "top_share": (("layer", "place"), shares, about),
        }
        if held is not None and self._positions is not None:
            place = np.nan_to_num(held).argmax(axis=1)
            found["top_position"] = ("layer", self._positions.names[place], {})
            found["top_position_share"] = ("layer", held[np.arange(len(place)), place], about)
        return found

    def coordinates(self) -> dict[str, Any]:
        """Return the names of layers and blocks."""
        names = self.stream.names
        return {
            "layer": names,
            "layer_b": names,
            "block": names[1:],
            "input": ("block", names[:-1]),
            "span": np.arange(1, self.spans + 1),
        }

    def attributes(self) -> dict[str, Any]:
        """Return what was found beside numbers over layers."""
        layers, names = self.stream.layers, self.stream.names
        found: dict[str, Any] = {
            "title": TITLE,
            "homolog_version": version("homolog"),
            "n_examples": np.int32(layers.n),
            "features": np.int32(self.stream.width),
            "caution": CAUTION,
            "notes": json.dumps(self.stream.notes, ensure_ascii=False),
            "criterion": CRITERION if isinstance(self._remove, str) else "named by the caller",
            "massive_features": json.dumps(told_features(self.look, names, layers, self.removed), ensure_ascii=False),
            "provenance": json.dumps(layers.provenance, ensure_ascii=False),
        }
        if self.kept is not None:
            told = told_rows(self.look, names, layers, self.flags, self.outlying, self._positions)
            found["outlying_rows"] = json.dumps(told, ensure_ascii=False)
        return found

    def cautions(self) -> list[Caution]:
        """Warn of rows that have no direction."""
        counts = self.angles[0].counts.sum(axis=0)
        missing = {name: int(self.stream.layers.n - counts[at, at]) for at, name in enumerate(self.stream.names)}
        return without_direction(
            {name: count for name, count in missing.items() if count},
            "are 0",
            "they are left out of the means of cosines and angles of this layer",
        )


INFLUENCE = {
    "long_name": "influence",
    "formula": "1 − mean cos(x_in, x_out)",
    "range": "[0, 2]",
    "reference": "Men et al. (2024), arXiv 2403.03853",
}
ANGULAR = {
    "long_name": "angular distance",
    "formula": "mean arccos(cos(x, y)) / π",
    "range": "[0, 1]",
    "reference": "Gromov et al. (2024), arXiv 2403.17887",
}
BEST = {"long_name": "first block of the run of so many blocks of least angular distance; the first among equals"}
EFFECTIVE_RANK = {
    "long_name": "effective rank",
    "formula": "exp(−Σ s log s), s = σ / Σ σ, σ the singular values of the centred layer",
    "reference": "Roy & Vetterli (2007)",
}


def _best_runs(distances: np.ndarray) -> list[tuple[int, float, int]]:
    """Return for each span the first block of the best run, its distance, and how many runs share it."""
    found = []
    for column in distances.T:
        if np.isnan(column).all():
            found.append((-1, float("nan"), 0))
            continue
        least = float(np.nanmin(column))
        tied = np.flatnonzero(column <= least + TIE)
        found.append((int(tied[0]), least, len(tied)))
    return found


def _name(record: Measure) -> str:
    """Return what the variable of a measure is called."""
    return str(record).partition("(")[0]


def _compared(
    found: _Found, record: Measure, memory: int, progress: bool | None
) -> tuple[dict[str, Any], list[Caution]]:
    """Return all layers compared with each other, in every form, and the warnings of the comparison of them as they are."""
    layers, name = found.stream.layers, _name(record)
    variables: dict[str, Any] = {}
    cautions: list[Caution] = []
    forms: dict[str, tuple[Any, Any]] = {"": (None, None)}
    forms |= {WITHOUT: (found.columns, None)} if found.columns is not None else {}
    forms |= {WITHOUT_ROWS: (None, found.kept)} if found.kept is not None else {}
    for suffix, part in forms.items():
        given: Mapping[str, Any] = layers
        if suffix:
            given = {layer: Part(rows, *part) for layer, rows in zip(layers, found.rows, strict=True)}
        result, told = _quietly(given, record, memory, progress)
        more = {"companion_of": name, "meaning": MEANINGS[suffix]} if suffix else {}
        variables[name + suffix] = (("layer", "layer_b"), result[name].values, result[name].attrs | more)
        cautions += told if not suffix else []
    return variables, cautions


def _quietly(
    given: Mapping[str, Any], record: Measure, memory: int, progress: bool | None
) -> tuple[xarray.Dataset, list[Caution]]:
    """Compare layers, and return the warnings instead of giving them."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", HomologWarning)
        result = compare(given, measures={_name(record): record}, memory=memory, progress=progress)
    ours = [each for each in told if issubclass(each.category, HomologWarning)]
    for each in told:
        if each not in ours:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    return result, [Caution(each.category, str(each.message)) for each in ours]
