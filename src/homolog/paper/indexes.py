"""The indexes that experiments compare: the paper's under its names, and a user's own."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import homolog as hl
from homolog.paper.checkpoints import digest

INDEXES = {
    "cca(statistic=rho)": ("CCA (ρ̄)", 1.4),
    "cca": ("CCA (R²)", 10.6),
    "svcca(statistic=rho)": ("SVCCA (ρ̄)", 9.9),
    "svcca": ("SVCCA (R²)", 15.1),
    "pwcca": ("PWCCA", 11.1),
    "linear_regression": ("Linear regression", 45.4),
    "hsic": ("HSIC (linear)", 22.2),
    "cka": ("CKA (linear)", 99.3),
    "cka(kernel=rbf,median_fraction=0.2)": ("CKA (RBF 0.2)", 80.6),
    "cka(kernel=rbf,median_fraction=0.4)": ("CKA (RBF 0.4)", 99.1),
    "cka(kernel=rbf,median_fraction=0.8)": ("CKA (RBF 0.8)", 99.3),
}
"""Measure → the paper's name for it, and its accuracy in % on CIFAR-10."""
DEBIASED = "cka(estimator=debiased)"
TITLES = {name: title for name, (title, _) in INDEXES.items()} | {DEBIASED: "CKA (debiased)"}
REGRESSION = "linear_regression"
"""Which the paper finds between CKA and the rest, so that all are tested against it."""
FIGURE_2 = ("cca", "linear_regression", "svcca(statistic=rho)", "svcca", "cka", "cka(kernel=rbf,median_fraction=0.4)")

LINEAR_CKA = {"cka": hl.measure("cka")}


def title(measure: str) -> str:
    """Return the paper's name of a measure."""
    return TITLES.get(measure, measure)


def takes_sketches(measure: hl.Measure) -> bool:
    """Say whether two sketches of a layer tell a measure."""
    return measure.family.takes_sketches(measure.prepare_options)


def indexes_of(*, sketched: bool) -> dict[str, hl.Measure]:
    """Return the paper's indexes; of sketches those that they tell, and beside them the CKA that is unbiased."""
    names = [*INDEXES, *([DEBIASED] if sketched else [])]
    measures = {name: hl.measure(name) for name in names}
    return {name: measure for name, measure in measures.items() if not sketched or takes_sketches(measure)}


def by_operand(measures: Mapping[str, hl.Measure]) -> list[dict[str, hl.Measure]]:
    """Put together the measures that share what is costly."""
    found: dict[str, dict[str, hl.Measure]] = {}
    for name, measure in measures.items():
        family = measure.family.name
        shared = str(measure) if "rbf" in str(measure) else family
        found.setdefault(shared, {})[name] = measure
    return list(found.values())


def described(measure: hl.Measure) -> str:
    """Return what tells a measure from others: its text form, and of a function of the user's all code in its folder."""
    if measure.name in hl.measures():
        return str(measure)
    try:
        folder = Path(inspect.getfile(inspect.unwrap(measure.function))).resolve().parent
    except TypeError:  # built in
        return str(measure)
    loaded = {
        Path(path).resolve() for module in list(sys.modules.values()) if (path := getattr(module, "__file__", None))
    }
    # Some modules claim files that are not there.
    own = [path for path in loaded if folder in path.parents and path.suffix == ".py" and path.is_file()]
    code = sorted(path.read_text(errors="replace") for path in own)
    return f"{measure} {digest(code)}"


def tried(measures: Mapping[str, hl.Measure]) -> Mapping[str, hl.Measure]:
    """Return measures of the user's own once each has given a number for two arrays, which costs less than training networks."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 4)), rng.normal(size=(60, 3))
    for name, measure in measures.items():
        if measure.name in hl.measures():
            continue
        expected = f"{name} must take arrays (n, p) and (n, q) and return a number"
        try:
            value = float(measure(x, y + x[:, :3]))
        except Exception as error:  # whatever the user's code raises becomes one sentence, its own traceback below
            raise ValueError(f"{expected}, got {type(error).__name__}: {error}.") from error
        if np.isnan(value):
            raise ValueError(f"{expected}, got NaN for random ones.")
    return measures
