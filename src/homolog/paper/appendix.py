"""The appendix: SVCCA's thresholds, untrained networks, batch norm, CKA within a class, all indexes between architectures."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import xarray

import homolog as hl
from homolog.paper.checkpoints import Trained, untrained
from homolog.paper.experiment import Experiment, figure_of, heatmap_per_index, layers_in_place, order_kept
from homolog.paper.indexes import FIGURE_2, title
from homolog.paper.study import Study
from homolog.paper.table2 import bars, by_measures, compared_over, comparison, told_of_sketches, with_sketches

if TYPE_CHECKING:
    from matplotlib.figure import Figure

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
FEW = 4
"""Networks of each kind where one kind is compared with another, at most."""


def run_thresholds(study: Study) -> xarray.Dataset:
    """Return layer identification by SVCCA, over the threshold."""
    forms = [f"svcca(threshold={value},statistic={name})" for name in ("r2", "rho") for value in THRESHOLDS]
    everything = comparison(study, {form: hl.measure(form) for form in forms})
    found = hl.layer_identification(everything)
    shape = (2, len(THRESHOLDS))
    return xarray.Dataset(
        {name: (("statistic", "threshold"), found[name].values.reshape(shape)) for name in ("accuracy", "accuracy_se")},
        {"statistic": ["R²", "ρ̄"], "threshold": list(THRESHOLDS)},
        {"chance": float(found.chance[0]), "networks": len(study.seeds), "n_examples": everything.attrs["n_examples"]},
    )


def draw_thresholds(result: xarray.Dataset) -> Figure:
    """Draw the accuracy over the threshold."""
    ax = hl.plot.lines(result, "accuracy", x="threshold", by="statistic")
    ax.axhline(result.attrs["chance"], color="0.5", linestyle=":", linewidth=1)
    ax.set(ylim=(0, 1), ylabel="layers identified", xlabel="variance that SVCCA keeps")
    return figure_of(ax)


def tell_thresholds(result: xarray.Dataset) -> list[str]:
    """Return the best threshold."""
    lines = [f"Layers identified by SVCCA (chance {result.attrs['chance']:.1%}), by threshold:"]
    lines.append("  " + " " * 4 + " ".join(f"{threshold:>6}" for threshold in result.threshold.values))
    for name in result.statistic.values:
        values = result.accuracy.sel(statistic=name).values
        lines.append(f"  {name:4}" + " ".join(f"{100 * value:6.1f}" for value in values))
    return lines


def run_untrained(study: Study) -> xarray.Dataset:
    """Return layer identification between untrained networks, by all indexes."""
    architecture = study.architecture("tiny-10")

    def networks() -> dict[str, Trained]:
        return {f"seed {seed}": untrained(architecture, study.images, seed) for seed in list(study.seeds)[:FEW]}

    architectures = [architecture for _ in list(study.seeds)[:FEW]]
    everything = study.compared(
        "untrained tiny-10", networks, study.examples(), study.indexes, architectures=architectures
    )
    found = hl.layer_identification(everything)
    found.attrs |= {"networks": min(FEW, len(study.seeds)), "n_examples": everything.attrs["n_examples"]}
    return with_sketches(found, everything, study)


def draw_identification(found: xarray.Dataset) -> Figure:
    """Draw accuracies as bars."""
    return figure_of(bars(found))


def tell_identification(found: xarray.Dataset) -> list[str]:
    """Return the accuracies."""
    lines = [f"Layers identified, % (n = {compared_over(found)}, chance {100 * float(found.chance[0]):.1f} %):"]
    for name, accuracy, error in zip(
        found.measure.values, found.accuracy.values, found.accuracy_se.values, strict=True
    ):
        lines.append(f"  {title(str(name)):20} {100 * accuracy:6.1f} ± {100 * error:.1f}")
    return lines + told_of_sketches(found)


def run_batch_norm(study: Study) -> xarray.Dataset:
    """Compare networks with batch norm, and without it, among each other and with each other."""
    seeds = list(study.seeds)[:FEW]
    kinds = {
        name: study.tiny_networks(seeds, batch_norm=norm, name=name)
        for name, norm in (("with", True), ("without", False))
    }
    networks = kinds["with"] | kinds["without"]
    everything = study.compared("batch norm", lambda: networks, study.examples())
    parts = []
    for a, b in (("with", "with"), ("without", "without"), ("with", "without")):
        mean = hl.mean_over_models(everything, list(kinds[a]), list(kinds[b]))
        parts.append(mean[["cka", "cka_se"]].assign_coords(networks=f"{a} and {b}").expand_dims("networks"))
    merged = xarray.concat(parts, "networks", combine_attrs="override")
    accuracy = {kind: float(np.mean([network.accuracy for network in named.values()])) for kind, named in kinds.items()}
    return merged.assign_attrs(test_accuracy=json.dumps(accuracy))


def draw_batch_norm(result: xarray.Dataset) -> Figure:
    """Draw the mean heatmaps."""
    titled = {f"{name} batch norm": result.sel(networks=name) for name in result.networks.values}
    return hl.plot.heatmaps(titled, title=f"linear CKA, mean over pairs of networks, n = {result.attrs['n_examples']}")


def tell_batch_norm(result: xarray.Dataset) -> list[str]:
    """Return in how many rows the same layer is the most alike."""
    accuracy = json.loads(result.attrs["test_accuracy"])
    lines = [
        f"Test accuracy with batch norm {accuracy['with']:.1%}, without {accuracy['without']:.1%}.",
        "Same layer found in the mean:",
    ]
    for name in result.networks.values:
        lines.append(f"  {name:20} {layers_in_place(result.sel(networks=name))}")
    return lines


def run_within_class(study: Study) -> xarray.Dataset:
    """Return linear CKA of two Tiny-10 networks over all examples, and the mean over classes of CKA within one."""
    networks = study.tiny_networks((0, 1))
    images = study.examples()
    labels = study.images.train_labels[: len(images)]

    def over(rows: np.ndarray) -> np.ndarray:
        layers = {name: study.activations(network, images[rows]) for name, network in networks.items()}
        result = hl.compare(layers, measures="cka(estimator=debiased)", progress=study.progress)
        values: np.ndarray = hl.between(result, "seed 0", "seed 1")["cka(estimator=debiased)"].values
        return values

    whole = over(np.arange(len(labels)))
    within = [over(np.flatnonzero(labels == kind)) for kind in np.unique(labels)]
    layers = networks["seed 0"].architecture.layers()
    return xarray.Dataset(
        {
            "whole": (("layer_a", "layer_b"), whole),
            "within": (("layer_a", "layer_b"), np.mean(within, axis=0)),
            "within_sd": (("layer_a", "layer_b"), np.std(within, axis=0)),
        },
        {"layer_a": layers, "layer_b": layers},
        {"n_examples": len(labels), "classes": study.images.classes},
    )


def draw_within_class(result: xarray.Dataset) -> Figure:
    """Draw both heatmaps, and one against the other."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(12.5, 3.9), layout="compressed")
    for ax, name, heading in ((axes[0], "whole", "over all examples"), (axes[1], "within", "within a class, mean")):
        image = ax.imshow(result[name].values, origin="lower", cmap="magma", vmin=0, vmax=1)
        ax.set_xticks(range(result.sizes["layer_b"]), result.layer_b.values, rotation=90)
        ax.set_yticks(range(result.sizes["layer_a"]), result.layer_a.values)
        ax.set_title(heading, fontsize=10)
    figure.colorbar(image, ax=axes[1], fraction=0.046)
    axes[2].errorbar(
        result.whole.values.ravel(),
        result.within.values.ravel(),
        result.within_sd.values.ravel(),
        fmt=".",
        elinewidth=0.5,
    )
    axes[2].plot([0, 1], [0, 1], color="0.6", linewidth=1)
    axes[2].set(xlabel="over all examples", ylabel="within a class (± sd over classes)")
    figure.suptitle(f"debiased linear CKA of two networks, n = {result.attrs['n_examples']}")
    return figure


def tell_within_class(result: xarray.Dataset) -> list[str]:
    """Return how close the two are."""
    whole, within = result.whole.values, result.within.values
    correlation = float(np.corrcoef(whole.ravel(), within.ravel())[0, 1])
    same = int((whole.argmax(axis=1) == within.argmax(axis=1)).sum())
    return [
        f"Over all pairs of layers: correlation {correlation:.3f}, mean over all examples {whole.mean():.3f}, within a class "
        f"{within.mean():.3f}; the same best match for {same} of {len(whole)} layers."
    ]


def run_tiny_resnet(study: Study) -> xarray.Dataset:
    """Compare a Tiny-10 network with a ResNet-14 by the indexes of Figure 2."""
    networks = study.networks({name: (study.architecture(name.lower()), 0) for name in ("Tiny-10", "ResNet-14")})
    measures = {name: hl.measure(name) for name in FIGURE_2}
    everything = study.compared("tiny-resnet", lambda: networks, study.examples(), measures)
    part = hl.between(everything, "Tiny-10", "ResNet-14")
    return part[list(measures)].assign_attrs(measures=json.dumps(list(measures)))


def draw_tiny_resnet(result: xarray.Dataset) -> Figure:
    """Draw a heatmap for each index."""
    return heatmap_per_index(result, "Tiny-10 (rows) and ResNet-14")


def tell_tiny_resnet(result: xarray.Dataset) -> list[str]:
    """Return how far best matches keep the order of the layers."""
    lines = ["Rank correlation of a layer's place in Tiny-10 with the place of its best match in ResNet-14:"]
    for name in json.loads(result.attrs["measures"]):
        lines.append(f"  {title(name):20} {order_kept(result, name)[1]:.2f}")
    return lines


THRESHOLDS_EXPERIMENT = Experiment(
    "svcca-thresholds", "SVCCA at other thresholds", run_thresholds, draw_thresholds, tell_thresholds
)
UNTRAINED = Experiment(
    "untrained", "Untrained networks", run_untrained, draw_identification, tell_identification, by_measures
)
BATCH_NORM = Experiment("batchnorm", "With and without batch norm", run_batch_norm, draw_batch_norm, tell_batch_norm)
WITHIN_CLASS = Experiment("within-class", "CKA within a class", run_within_class, draw_within_class, tell_within_class)
TINY_RESNET = Experiment(
    "tiny-resnet", "Tiny-10 and ResNet-14 by six indexes", run_tiny_resnet, draw_tiny_resnet, tell_tiny_resnet
)
