"""What passes over a residual stream find, and how a result has it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from homolog.activations import Activations
from homolog.analysis.attention_sinks import SINKS
from homolog.analysis.redundant.massive_features import (
    CRITERION,
    Remove,
    massive,
    removed_features,
    told_features,
    told_rows,
)
from homolog.analysis.redundant.reading import form_words
from homolog.analysis.redundant.residual_stream import Form, Stream, forms
from homolog.analysis.redundant.row_sums import Angles, Look, angles_of, looked_at
from homolog.analysis.redundant.sink_tokens import SinkTokens, positions_of
from homolog.analysis.redundant.spectra import Spread, spread_of, spreads
from homolog.analysis.redundant.stream_sums import StreamSums, fit
from homolog.diagnostics import Caution
from homolog.measures.record import Measure
from homolog.result_kinds import REDUNDANCY
from homolog.warning_sentences import without_direction

TIE = 1e-9
"""Runs of blocks whose angular distances differ by less are told as equal."""
TOP = 5
"""Features of a layer whose shares are told."""
CAUTION = (
    "A small change of the representation is a poor proxy for the damage of removing a block: over many language models its "
    "correlation with the loss of accuracy is often weak or moderate (arXiv 2605.14075), and removing blocks by cosine alone "
    "can break a model (arXiv 2604.19520). Remove the blocks and measure."
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


class Findings:
    """What the passes over the rows find, and how the result has it."""

    def __init__(self, stream: Stream, memory: int, remove: Remove, record: Measure) -> None:
        self.stream, self._memory, self._remove = stream, memory, remove
        self.rows = stream.rows()
        self.summed = fit(record, stream.layers.n, len(self.rows), stream.width, memory)
        """Whether spectra and comparison follow from sums over the rows."""
        self.sums: StreamSums | None = None
        self._positions = positions_of(stream.layers)
        self.spans = max(1, len(self.rows) - 2)
        self.look: Look
        self.columns: np.ndarray | None = None
        """Features that are kept where some are removed."""
        self.kept: np.ndarray | None = None
        """Rows that are kept where outlying ones are left out."""

    def pass_over(self, shown: Any) -> None:
        """Read all layers: once for lengths, once for angles and sums, and without sums once for spectra."""
        names = self.stream.names
        codes = None if self._positions is None else self._positions.codes
        self.look = looked_at(self.rows, names, codes, self._memory, shown)
        self.massive = massive(self.look)
        self.removed, self.notes = removed_features(self._remove, self.massive)
        if len(self.removed):
            self.columns = np.setdiff1d(np.arange(self.stream.width), self.removed)
        choices = [None] + [self.columns] * (self.columns is not None)
        if self.summed:
            self.sums = StreamSums(names, self.stream.width, self.columns, self.look.largest.max(axis=1))
        add = None if self.sums is None else self.sums.add
        self.tokens = SinkTokens(self.look, names, self.stream.layers, self._positions)
        self.angles, self.flags, self.outlying = angles_of(
            self.rows, choices, self.look, self._memory, shown, add, self.tokens.first
        )
        self.tokens.add_long(self.flags, self.outlying)
        self.kept = np.flatnonzero(~self.flags) if self.tokens.are_left_out(self.flags, self.outlying) else None
        self.spectra = self._spectra(shown)

    def _spectra(self, shown: Any) -> list[dict[str, Spread]]:
        """Return for each layer its spread in every form."""
        if self.sums is None:
            flags = None if self.kept is None else self.flags
            found = []
            for rows in self.rows:
                found.append(spreads(rows, self.columns, flags, self._memory))
                shown.update(rows.shape[0])
            return found
        found = [{} for _ in self.rows]
        for suffix, form in self.forms.items():
            for spread, layer in zip(found, self.sums.moments(form).representations(), strict=True):
                spread[suffix] = spread_of(layer.gram)
        return found

    @property
    def passes(self) -> int:
        """How often all rows are read."""
        return 2 if self.summed else 3

    @property
    def forms(self) -> dict[str, Form]:
        """Ending of a variable → the columns and rows that are kept for it."""
        return forms(self.columns, self.kept)

    @property
    def words(self) -> dict[str, str]:
        """Ending of a variable → what it means."""
        return form_words(bool(self.massive[:, self.removed].any(axis=0).all()))

    def best(self) -> dict[str, list[int]]:
        """Return for each form the first block of the best run of each length, −1 where no row has a direction."""
        return {
            suffix: [start for start, *_ in _best_runs(self._distances(*self._angles(form)))]
            for suffix, form in self.forms.items()
        }

    def _angles(self, form: Form) -> tuple[Angles, bool]:
        """Return the angles of a form, and whether they are of ordinary rows alone."""
        columns, kept = form
        return self.angles[0 if columns is None else 1], kept is not None

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
        for suffix, form in self.forms.items():
            spread = [layer[suffix] for layer in self.spectra]
            for name, (dims, values, about) in self._of_form(*self._angles(form), spread).items():
                more = {"companion_of": name, "meaning": f"the same {self.words[suffix]}"} if suffix else {}
                found[name + suffix] = (dims, values, about | more)
        return found | self._shares()

    def _of_form(self, angles: Angles, ordinary: bool, spread: Sequence[Spread]) -> dict[str, Any]:
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
        ranks = np.array(spread)
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
            found["top_position"] = ("layer", self._positions.names[place].astype(np.int32), {})
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
            "span": np.arange(1, self.spans + 1, dtype=np.int32),
        }

    def attributes(self) -> dict[str, Any]:
        """Return what was found beside numbers over layers."""
        layers, names = self.stream.layers, self.stream.names
        told = told_features(self.look, names, layers, self.massive, self.removed)
        found: dict[str, Any] = {
            "title": REDUNDANCY,
            "homolog_version": version("homolog"),
            "n_examples": np.int32(layers.n),
            "n_units": np.int32(_units(layers)),
            "features": np.int32(self.stream.width),
            "caution": CAUTION,
            "notes": json.dumps([*self.stream.notes, *self.notes], ensure_ascii=False),
            "criterion": CRITERION,
            "massive_features": json.dumps(told, ensure_ascii=False),
            "provenance": json.dumps(layers.provenance, ensure_ascii=False),
        }
        if self.tokens.sinks:
            sinks = [["", name, *sink] for name, sink in self.tokens.sinks.items()]
            found[SINKS] = json.dumps(sinks, ensure_ascii=False)
        if self.kept is not None:
            rows = told_rows(self.look, names, layers, self.flags, self.outlying, self._positions)
            rows["sink"] = self.tokens.left_out
            found["outlying_rows"] = json.dumps(rows, ensure_ascii=False)
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


def _units(layers: Activations) -> int:
    """Return how many examples the rows are of: tokens of one text are one."""
    return layers.n if layers.example_ids is None else len(np.unique(layers.example_ids))


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
