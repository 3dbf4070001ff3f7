"""Table F.1: layer identification in the encoders of Transformers, in four places of every sublayer."""

from __future__ import annotations

import json
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np
import torch
import xarray

import homolog as hl
from homolog.paper.checkpoints import Trained
from homolog.paper.experiment import Experiment
from homolog.paper.indexes import title
from homolog.paper.sentences import Sentences
from homolog.paper.study import Study
from homolog.paper.table2 import by_measures
from homolog.paper.training import device
from homolog.paper.translation import bits_without
from homolog.paper.translator import PADDING, PLACES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAPER = {
    "cca(statistic=rho)": (85.3, 85.3, 94.9, 90.9),
    "cca": (87.8, 87.8, 95.3, 95.2),
    "svcca(statistic=rho)": (78.2, 83.0, 89.5, 75.9),
    "svcca": (85.4, 86.9, 90.8, 84.7),
    "pwcca": (88.5, 88.9, 96.1, 87.0),
    "linear_regression": (78.1, 83.7, 76.0, 36.9),
    "cka": (78.6, 95.6, 86.0, 73.6),
    "cka(kernel=rbf,median_fraction=0.2)": (76.5, 73.1, 70.5, 76.2),
    "cka(kernel=rbf,median_fraction=0.4)": (92.3, 96.5, 89.1, 98.1),
    "cka(kernel=rbf,median_fraction=0.8)": (80.8, 95.8, 93.6, 90.0),
}
"""Measure → accuracy in % in the places, in their order. The paper has no HSIC here."""
CONTRASTS = {
    "contrast": "all pairs",
    "next_to": "at like distance",
    "untrained_contrast": "untrained, all",
    "untrained_next_to": "untrained, like",
}
"""What is measured of the checkerboard, in words."""


def run(study: Study) -> xarray.Dataset:
    """Return the layer identification of all indexes in all places, and the mean similarity of all sublayers."""
    networks = study.translators()
    tokens = study.sentences.held_out(study.scale.n_tokens)
    seen = "cka" if "cka" in study.indexes else next(iter(study.indexes))
    raw = untrained(networks)
    parts = []
    for place, words in PLACES.items():
        taken = partial(activations, tokens=tokens, place=place)
        everything = study.compared(f"tableF1 {place}", lambda: networks, taken, study.indexes, study.sentences)
        found = hl.layer_identification(everything)
        mean = hl.mean_over_models(everything)[[seen, f"{seen}_se"]].reset_coords(drop=True)
        before = study.compared(
            f"tableF1 {place} untrained", lambda: raw, taken, {seen: study.indexes[seen]}, study.sentences
        )
        board, control = checkerboard(everything, seen), checkerboard(before, seen)
        control = control.rename({name: f"untrained_{name}" for name in control.data_vars})
        control["untrained_accuracy"] = hl.layer_identification(before).accuracy.sel(measure=seen, drop=True)
        parts.append(mean.merge(found).merge(board).merge(control).expand_dims(place=[words]))
    result = xarray.concat(parts, "place", coords="minimal", combine_attrs="override")
    missing = (np.nan,) * len(PLACES)
    paper = [[percent / 100 for percent in PAPER.get(str(name), missing)] for name in result.measure.values]
    result["paper"] = (("measure", "place"), np.array(paper))
    result["paper"].attrs["long_name"] = "accuracy in Table F.1 of the paper (WMT English to German, base Transformers)"
    return result.merge(lost(networks, study.sentences)).assign_attrs(
        measures=json.dumps([seen]),
        networks=len(networks),
        sentences=len(tokens),
        n_train=len(study.sentences.train),
        courses=json.dumps([list(network.course) for network in networks.values()]),
    )


def untrained(networks: dict[str, Trained]) -> dict[str, Trained]:
    """Return the same networks as they were drawn: the control of what the architecture alone makes alike."""
    raw = {}
    for seed, (name, network) in enumerate(networks.items()):
        torch.manual_seed(seed)
        raw[name] = Trained(network.architecture.build().to(device()).eval(), network.architecture, 0.0, 0.0)
    return raw


def activations(network: Trained, tokens: np.ndarray, place: str) -> hl.Activations:
    """Return the encoder's sublayers in one place, over the tokens of sentences without the padding."""
    names = network.architecture.layers(place)
    taken = hl.extract(
        network.network.encoder,
        torch.from_numpy(tokens),
        layers=names,
        reduce="positions",
        mask=lambda batch: batch != PADDING,
        device=str(device()),
        progress=False,
    )
    return taken.rename({name: name.partition(".")[0].replace("_", "-") for name in names})


def lost(networks: dict[str, Trained], data: Sentences) -> xarray.Dataset:
    """Return how many bits more a token of held-out translations costs without parts of the encoder, with errors over networks.

    The parts are each of the blocks, and the later half of them together. What costs little without a part is learned without
    it, and gives it no reason to be the same in two networks.
    """
    blocks = next(iter(networks.values())).architecture.blocks
    parts = {f"block {i}": range(i, i + 1) for i in range(1, blocks + 1)}
    later = range(blocks // 2 + 1, blocks + 1)
    parts[f"blocks {later[0]} to {blocks}"] = later

    def more(network: torch.nn.Module) -> list[float]:
        whole = bits_without(network, data, ())
        names = [[f"{kind}{i}" for i in part for kind in ("attention", "feed_forward")] for part in parts.values()]
        return [bits_without(network, data, part) - whole for part in names]

    found = np.array([more(network.network) for network in networks.values()])
    values = {"bits_lost": found.mean(axis=0), "bits_lost_se": found.std(axis=0, ddof=1) / np.sqrt(len(found))}
    return xarray.Dataset({name: ("part", value) for name, value in values.items()}, {"part": list(parts)})


def checkerboard(everything: xarray.Dataset, measure: str) -> xarray.Dataset:
    """Return how much more alike sublayers of one kind are than attention and feed-forward, with errors over networks.

    `contrast`: the mean over pairs of different sublayers of one kind less the mean over pairs of both kinds. The former are an
    even number of sublayers apart, the latter an odd one, so that similarity which falls with distance moves it. `next_to`: the
    mean at every even distance less those at the two odd distances beside it, in which a steady fall cancels.
    """
    names = list(dict.fromkeys(map(str, everything.model_a.values)))
    pairs = [(i, j) for i in range(len(names)) for j in range(len(names)) if i != j]
    found = np.array([contrasts(hl.between(everything, names[i], names[j])[measure].values) for i, j in pairs])
    mean = found.mean(axis=0)
    error = np.full(2, np.nan)
    if len(names) > 2:
        without = [found[[k not in pair for pair in pairs]].mean(axis=0) for k in range(len(names))]
        error = np.sqrt((len(names) - 1) * np.var(without, axis=0))
    columns = {"contrast": mean[0], "contrast_se": error[0], "next_to": mean[1], "next_to_se": error[1]}
    return xarray.Dataset(columns)


def contrasts(values: np.ndarray) -> tuple[float, float]:
    """Return both contrasts of one matrix of similarities, in which the kinds alternate."""
    apart = np.abs(np.subtract.outer(np.arange(len(values)), np.arange(len(values))))
    even, odd = (values[(apart % 2 == parity) & (apart > 0)].mean() for parity in (0, 1))
    at = [values[apart == distance].mean() for distance in range(len(values))]
    beside = [at[d] - (at[d - 1] + at[d + 1]) / 2 for d in range(2, len(values) - 1, 2)]
    return float(even - odd), float(np.mean(beside))


def one_place(result: xarray.Dataset, place: str) -> xarray.Dataset:
    """Return the mean over pairs of networks in one place, as `homolog.mean_over_models` gives it."""
    (name,) = json.loads(result.attrs["measures"])
    return result.sel(place=place)[[name, f"{name}_se"]].drop_vars("place")


def draw(result: xarray.Dataset) -> Figure:
    """Draw for every place the accuracies, the paper's as diamonds, and below the mean similarities."""
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(17, 8.6), layout="compressed")
    above, below = figure.subfigures(2, 1, squeeze=False).flat
    places = [str(place) for place in result.place.values]
    named = result.assign_coords(measure=[title(str(name)) for name in result.measure.values])
    for ax, place in zip(above.subplots(1, len(places), sharey=True), places, strict=True):
        found = named.sel(place=place)
        hl.plot.identification(found, ax=ax)
        ax.plot(100 * found.paper.values, np.arange(found.sizes["measure"])[::-1], "D", color="#a84b3b", markersize=4)
        ax.set_title(place, fontsize=10)
        ax.set_xlabel("sublayers identified, %")
    (name,) = json.loads(result.attrs["measures"])
    means = {place: one_place(result, place) for place in places}
    hl.plot.heatmaps(means, columns=len(places), annotate=False, figure=below)
    below.suptitle(f"{title(name)}, mean over pairs of networks", fontsize=10)
    above.suptitle(
        f"{result.attrs['networks']} Transformers, {result.attrs['n_examples']} tokens; diamonds: the paper, on WMT",
        fontsize=10,
    )
    return figure


def tell(result: xarray.Dataset) -> list[str]:
    """Return what the networks learned, the rows of the table, what blocks are worth, and the checkerboard."""
    attrs, (seen,) = result.attrs, json.loads(result.attrs["measures"])
    columns = "".join(f"{place:>24}" for place in result.place.values)
    lines = [
        f"{attrs['networks']} Transformers, trained on {attrs['n_train']} sentences. Of the German of held-out sentences they "
        f"predict, on average:",
        *_learned(json.loads(attrs["courses"])),
        "The most alike sublayer of another network is the same one, in % ± se, in brackets the paper's; "
        f"n = {attrs['n_examples']} tokens",
        f"of {attrs['sentences']} held-out sentences, {int(result.decisions[0, 0])} decisions each, chance "
        f"{100 * float(result.chance[0, 0]):.1f} %. Compared after:",
        f"  {'index':20}{columns}",
        *(
            f"  {title(str(name)):20}"
            + "".join(_accuracy(result.sel(measure=name, place=place)) for place in result.place.values)
            for name in result.measure.values
        ),
        f"  {title(seen) + ', untrained':20}"
        + "".join(f"{at:10.1f}{'':14}" for at in 100 * result.untrained_accuracy.values),
        "Without parts of the encoder a token of held-out translations costs more bits, ± se over networks:",
        *(
            f"  {part:20}{more:+10.2f} ± {error:.2f}"
            for part, more, error in zip(
                result.part.values, result.bits_lost.values, result.bits_lost_se.values, strict=True
            )
        ),
        f"The checkerboard: {title(seen)} of two sublayers of one kind less that of attention with feed-forward, ± se; after:",
        f"  {'':20}{columns}",
        *(
            f"  {words:20}" + "".join(f"{_signed(result.sel(place=place), name):>24}" for place in result.place.values)
            for name, words in CONTRASTS.items()
        ),
    ]
    return [line.rstrip() for line in lines]


def _learned(courses: list[list[dict[str, float]]]) -> list[str]:
    """Return what networks predict after some of the passes, the first and the last among them."""
    passes = len(courses[0])
    chosen = sorted({round(k) for k in np.linspace(1, passes, min(passes, 5))})
    means = {key: np.mean([[at[key] for at in course] for course in courses], axis=0) for key in ("accuracy", "bits")}
    return [
        f"  after pass {k:2}: {means['accuracy'][k - 1]:.1%} of the tokens, at {means['bits'][k - 1]:.2f} bits a token"
        for k in chosen
    ]


def _accuracy(one: xarray.Dataset) -> str:
    paper = "" if np.isnan(one.paper) else f"({100 * float(one.paper):.1f})"
    error = "" if np.isnan(one.accuracy_se) else f"± {100 * float(one.accuracy_se):4.1f}"
    return f"{100 * float(one.accuracy):10.1f} {error:>6} {paper:>6}"


def _signed(one: xarray.Dataset, name: str) -> str:
    error = float(one[f"{name}_se"])
    return f"{float(one[name]):+.3f}" + f" ± {error:.3f}" * (not np.isnan(error))


TABLE_F1 = Experiment(
    "tableF1", "Table F.1, layer identification in Transformers", run, draw, tell, by_measures, attrgetter("sentences")
)
