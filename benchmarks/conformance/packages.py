"""What the packages call the definitions, with the least that turns their result into the same quantity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dcor
import hyppo.independence
import numpy as np
import procrustes
import repsim
import rsatoolbox
import scipy.spatial
import torch
from cca_zoo.linear import CCA as ZooCCA
from cka import cka_from_features, compute_cka
from cka_pytorch import CKACalculator
from ckatorch.core import cka_base
from simtorch.model import SimilarityModel
from simtorch.similarity import CKA as SimtorchCKA
from sklearn.cross_decomposition import CCA as SklearnCCA
from sklearn.linear_model import LinearRegression
from torch.utils.data import DataLoader, TensorDataset
from torch_cka import CKA as TorchCKA
from torchmetrics.functional.shape import procrustes_disparity

import homolog as hl

Array = np.ndarray
Call = Callable[[Array, Array], float]
BATCH = 32


class Columns(torch.nn.Module):
    """A model whose one layer puts out some columns of its input: what some packages take are models."""

    def __init__(self, part: slice) -> None:
        super().__init__()
        self.part, self.layer = part, torch.nn.Identity()
        # Where a model is, some packages ask its parameters.
        self.nothing = torch.nn.Parameter(torch.zeros(1))

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Return the columns."""
        return self.layer(batch[:, self.part])


class Batches:
    """Two models and the batches that make them put out two representations."""

    def __init__(self, x: Array, y: Array, size: int | None) -> None:
        both = torch.tensor(np.hstack([x, y]), dtype=torch.float32)
        width = x.shape[1]
        self.models = Columns(slice(0, width)), Columns(slice(width, None))
        # Some loaders are asked for a label beside the input.
        self.loader = DataLoader(TensorDataset(both, torch.zeros(len(both))), batch_size=size or len(both))


def single(x: Array) -> torch.Tensor:
    """Features as networks give them."""
    return torch.tensor(x, dtype=torch.float32)


def torch_cka(x: Array, y: Array, size: int | None = None) -> float:
    data = Batches(x, y, size)
    peer = TorchCKA(*data.models, model1_layers=["layer"], model2_layers=["layer"])
    peer.compare(data.loader)
    return float(peer.export()["CKA"][0, 0])


def pytorch_cka(x: Array, y: Array, size: int | None = None) -> float:
    data = Batches(x, y, size)
    return float(np.asarray(compute_cka(*data.models, data.loader, layers=["layer"], progress=False)[0])[0, 0])


def cka_pytorch(x: Array, y: Array, size: int | None = None) -> float:
    data = Batches(x, y, size)
    peer = CKACalculator(*data.models, ["layer"], ["layer"], verbose=False)
    return float(peer.calculate_cka_matrix(data.loader, num_epochs=1)[0, 0])


def simtorch(x: Array, y: Array, size: int | None = None) -> float:
    data = Batches(x, y, size)
    models = (SimilarityModel(model, layers_to_include=["layer"]) for model in data.models)
    return float(SimtorchCKA(*models).compute(data.loader)[0, 0])


def ours_of_batches(x: Array, y: Array, size: int | None = None) -> float:
    state = hl.MinibatchHSIC()
    for start in range(0, len(x), size or len(x)):
        state.update(*(single(side)[start : start + (size or len(x))] for side in (x, y)))
    return float(state.finalise()["cka(estimator=debiased)"].item())


def ours(form: str, **options: Any) -> Call:
    measure = hl.measure(form, **options)
    return lambda x, y: float(measure(single(x), single(y)))


def rsatoolbox_rsa(x: Array, y: Array) -> float:
    rdms = [rsatoolbox.rdm.calc_rdm(rsatoolbox.data.Dataset(side), method="euclidean") for side in (x, y)]
    return float(rsatoolbox.rdm.compare(*rdms, method="spearman").item())


def scipy_procrustes(x: Array, y: Array) -> float:
    width = max(x.shape[1], y.shape[1])
    padded = (np.hstack([side, np.zeros((len(side), width - side.shape[1]))]) for side in (x, y))
    return _distance(scipy.spatial.procrustes(*padded)[2])


def torchmetrics_procrustes(x: Array, y: Array) -> float:
    width = max(x.shape[1], y.shape[1])
    padded = (np.hstack([side, np.zeros((len(side), width - side.shape[1]))]) for side in (x, y))
    return _distance(float(procrustes_disparity(*(single(side)[None] for side in padded))[0]))


def _distance(disparity: float) -> float:
    """1 − ‖X^T Y‖_*² → sqrt(2 − 2‖X^T Y‖_*)."""
    return float(np.sqrt(2 - 2 * np.sqrt(max(1 - disparity, 0))))


def qc_procrustes(x: Array, y: Array) -> float:
    return float(np.sqrt(procrustes.orthogonal(x, y, translate=True, scale=True).error))


def sklearn_cca(x: Array, y: Array) -> float:
    k = min(x.shape[1], y.shape[1], len(x) - 1)
    u, v = SklearnCCA(n_components=k, max_iter=10_000).fit_transform(x, y)
    return float(np.mean([abs(np.corrcoef(u[:, i], v[:, i])[0, 1]) for i in range(k)]))


def zoo_cca(x: Array, y: Array) -> float:
    k = min(x.shape[1], y.shape[1])
    u, v = ZooCCA(n_components=k).fit_transform([x, y])
    return float(np.mean([np.corrcoef(u[:, i], v[:, i])[0, 1] for i in range(k)]))


def repsim_pillai(function: Callable[..., Array]) -> Call:
    return lambda x, y: float(function([x, y], "pillai")[0, 1])


def sklearn_regression(x: Array, y: Array) -> float:
    x = x - x.mean(axis=0)
    return float(1 - np.sum((x - LinearRegression().fit(y, x).predict(y)) ** 2) / np.sum(x**2))


IN_BATCHES = {"simtorch", "torch-cka", "pytorch-cka", "cka-pytorch", "homolog, MinibatchHSIC"}
PACKAGES: dict[str, dict[str, Call]] = {
    "Linear CKA": {
        "homolog": ours("cka"),
        "ckatorch": lambda x, y: float(cka_base(single(x), single(y))),
        "repsim, gretton": lambda x, y: float(repsim.cka([x, y], "linear", "gretton")[0, 1]),
        "simtorch": simtorch,
    },
    "Debiased linear CKA": {
        "homolog": ours("cka", estimator="debiased"),
        "homolog, MinibatchHSIC": ours_of_batches,
        "torch-cka": torch_cka,
        "pytorch-cka": pytorch_cka,
        "pytorch-cka, cka_from_features": lambda x, y: float(cka_from_features([single(x)], [single(y)])[0, 0]),
        "cka-pytorch": cka_pytorch,
        "ckatorch": lambda x, y: float(cka_base(single(x), single(y), unbiased=True)),
        "repsim, song": lambda x, y: float(repsim.cka([x, y], "linear", "song")[0, 1]),
        "repsim, lange": lambda x, y: float(repsim.cka([x, y], "linear", "lange")[0, 1]),
    },
    "RBF CKA, σ = median distance": {
        "homolog": ours("cka", kernel="rbf"),
        "ckatorch": lambda x, y: float(cka_base(single(x), single(y), kernel="rbf")),
    },
    "Distance correlation": {
        "homolog": ours("distance_correlation"),
        "dcor": lambda x, y: float(dcor.distance_correlation(x, y)),
        "hyppo": lambda x, y: float(hyppo.independence.Dcorr(bias=True).statistic(x, y)),
    },
    "Bias-corrected distance correlation": {
        "homolog": ours("distance_correlation", estimator="debiased"),
        "dcor": lambda x, y: float(dcor.u_distance_correlation_sqr(x, y)),
        "hyppo": lambda x, y: float(hyppo.independence.Dcorr().statistic(x, y)),
    },
    "Mean canonical correlation": {
        "homolog": ours("cca", statistic="rho"),
        "scikit-learn": sklearn_cca,
        "cca-zoo": zoo_cca,
        "repsim": repsim_pillai(repsim.cca),
    },
    "SVCCA, 99 %, mean correlation": {
        "homolog": ours("svcca", statistic="rho"),
        "repsim": repsim_pillai(repsim.svcca),
    },
    "PWCCA": {"homolog": ours("pwcca"), "repsim": lambda x, y: float(repsim.pwcca([x, y])[0, 1])},
    "R² of linear regression": {"homolog": ours("linear_regression"), "scikit-learn": sklearn_regression},
    "Procrustes distance": {
        "homolog": ours("procrustes_distance"),
        "scipy": scipy_procrustes,
        "torchmetrics": torchmetrics_procrustes,
        "qc-procrustes": qc_procrustes,
    },
    "RSA, Euclidean, Spearman": {
        "homolog": ours("rsa", dissimilarity="euclidean"),
        "rsatoolbox": rsatoolbox_rsa,
    },
}
