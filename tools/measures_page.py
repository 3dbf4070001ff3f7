"""Write docs/measures.md from the registry: python tools/measures_page.py"""

from __future__ import annotations

import json
import math
import sys
import warnings
from pathlib import Path

import numpy as np

import homolog as hl
from homolog.measures.record import Measure

sys.path.insert(0, str(Path(__file__).parent))
from measures_guide import GUIDE

PAGE = Path(__file__).parent.parent / "docs" / "measures.md"
INVARIANCES = ("invertible_linear", "orthogonal", "permutation", "isotropic_scaling", "translation")

HEAD = """# Measures

Start with `cka(estimator=debiased)`. [Which one when](#which-one-when) has a table for other questions, and [what
misleads](#what-misleads) lists the usual traps.

This page is made from the registry by `python tools/measures_page.py`. The tests check what it says on data: for every invariance, that
the value stays the same, and for every other transformation, an example where the value changes.

## What leaves a measure unchanged

"both" means that either side may be transformed, "x only" or "y only" that this side may. Orthogonal maps rotate and reflect the features.
Permutations reorder the features. Isotropic scaling multiplies all of them by one positive number. Translation adds one vector to
every example. A measure that ignores invertible linear maps cannot tell apart any two layers of full rank that have as many features as
examples.

"""

SIDE_BY_SIDE = """
## All of them on one pair of networks

Two networks of the demonstration, trained on scikit-learn's digits from seeds 0 and 1: seven layers each, 1,797 images, no layer too
wide for its examples. Light is alike, and a dot marks the best match of a row. If the seed does not matter, the dots lie on the diagonal.

![Every measure between the layers of two networks trained from different seeds](pictures/all_measures.png)

- The columns 200 × 20 and 200 × 150 are the values of independent Gaussian data, 200 examples with 20 and with 150 features on each side.
  If such a value of a similarity is far from 0, no value of this measure means anything without it.
- "Found" is the share of layers whose best match is the layer in the same place, in both directions; by chance it is 14 %. This is one
  pair of small networks on one data set, and no ranking.
- "Seconds" are for all 49 pairs on two cores (`python examples/all_measures.py docs/pictures`).
- `deconfounded_cka` gets no inputs for the independent data, and the images for the networks.

"""

TAIL = """
## Which one when

| you ask | take | because |
|---|---|---|
| which layers correspond, and how alike they are | `cka(estimator=debiased)`, `cka(kernel=rbf,estimator=debiased)` | of the paper's measures, CKA alone finds the corresponding layers of networks trained from different seeds; debiased, independent data score about 0, whatever the shapes |
| the number that papers report | `cka` | the same without the correction: too high where features outnumber examples |
| how far apart, as a metric | `procrustes_distance` | the triangle inequality holds: clustering and embeddings make sense |
| what a linear map predicts of one layer from another | `linear_regression` | it is the R² of that fit, in the sample |
| do they span the same subspace | `cca`, `svcca`, `pwcca` | they ignore the basis, and with it how much each direction varies |
| something between | `canonical_ridge` | its regularization runs from CCA to linear CKA |
| do single units match | `bipartite_match`, `semi_match`, `neuron_mutual_information`, `soft_matching_distance` | they depend on the basis, on purpose |
| what a linear map predicts on examples not seen | `linear_predictivity` | every example is left out once |
| relations that are not linear | `distance_correlation`, `cka(kernel=rbf)` | they see dependence without correlation |
| do two models see the same examples as alike, whatever the widths | `rsa`, `mutual_knn`, `cknna` | they compare who is near whom |
| are networks alike beyond what their inputs share | `deconfounded_cka` | it removes what the inputs explain |
| did a version of one layer move, in its own scale | `rsm_norm_difference`, `size_and_shape_distance`, `magnitude_difference` | they have units |
| do groups of units match | `maximum_match` | a unit counts where it lies in the span of the others |

## What misleads

- **Saturation.** If the ranks of two layers add up to more than n − 1, some canonical correlations are 1 whatever the data. If one rank
  reaches n − 1, all of them are. CCA, SVCCA at threshold 1, PWCCA and regression then say nothing. homolog warns (`SaturationWarning`).
- **The null level.** Biased CKA of 50 examples with 500 features is 0.9 for independent data. The exact mean over all orders of the
  examples stands beside the values as `<measure>_null`. Above 0.1 there is a warning (`NullLevelWarning`).
- **Negative values.** The debiased estimate is right on average, so around 0 half of the values are negative. They mean "nothing in
  common". They are not clipped, since the mean of clipped values would be too high.
- **Distance or similarity.** `kind` says which; `correspondence` and the pictures turn distances around.
- **One outlier.** A single example that is far from all others on both sides can carry biased linear CKA and regression. The debiased
  value is hardly moved by one such example, but by two that lie close together. `hl.diagnose` finds them, and `hl.explain_cka` gives the
  value without each example.
- **Few units.** A layer with few units cannot hold all that a wide one holds, so their CKA is low.
"""


PICTURES = PAGE.parent / "pictures"


def independent(record: Measure, width: int) -> str:
    """What two independent representations score."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 200, width))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        value = float(record(x, y))
    return "∞" if math.isinf(value) else f"{value + 0.0:.2f}".replace("-0.00", "0.00")


def side_by_side_table() -> str:
    """What independent data score, and what was found on real networks."""
    found = json.loads((PICTURES / "all_measures.json").read_text(encoding="utf-8"))
    lines = ["| measure | kind | 200 × 20 | 200 × 150 | found | seconds |", "|---|---|---|---|---|---|"]
    for name, record in hl.measures().items():
        # Debiased, where that can be asked for, is 0 by construction: the default is what needs the number.
        scores = " | ".join(independent(record, width) for width in (20, 150))
        # Of a measure that is newer than the picture nothing was found yet.
        real = f"{found[name]['accuracy']:.0%} | {found[name]['seconds']}" if name in found else "– | –"
        lines.append(f"| `{name}` | {record.kind} | {scores} | {real} |")
    return "\n".join(lines)


def sides(record: Measure, name: str) -> str:
    """Say on which side an invariance holds."""
    held = "" if record.invariances is None else getattr(record.invariances, name)
    return {"xy": "both", "": "no"}.get(held, f"{held} only")


def invariances_table() -> str:
    """One row per measure."""
    lines = [
        "| measure | " + " | ".join(name.replace("_", " ") for name in INVARIANCES) + " | symmetric |",
        "|---|" + "---|" * (len(INVARIANCES) + 1),
    ]
    for name, record in hl.measures().items():
        cells = [sides(record, invariance) for invariance in INVARIANCES]
        lines.append(f"| `{name}` | " + " | ".join(cells) + f" | {'yes' if record.symmetric else 'no'} |")
    return "\n".join(lines)


def section(record: Measure) -> str:
    """What one measure is."""
    low, high = record.range
    options = ", ".join(f"`{key}={value!r}`" for key, value in record.defaults.items()) or "none"
    lines = [
        f"### {record.name}",
        "",
        (record.function.__doc__ or "").splitlines()[0],
        "",
        f"- formula: {record.formula}",
        f"- {record.kind} in [{low:g}, {high:g}]; at least {record.minimal_n} examples; "
        f"{'differentiable' if record.differentiable else 'not differentiable'}; options: {options}",
    ]
    for form in record.forms():
        if form.formula != record.formula or form.range != record.range:
            low, high = form.range
            lines.append(f"- `{form}`: {form.formula}, in [{low:g}, {high:g}]")
    lines += [f"- exception: {why}" for why in record.exceptions.values()]
    advice = GUIDE[record.name]
    lines += [
        f"- **blind to** {advice.blind}",
        f"- **fooled by** {advice.fooled}",
        f"- **independent data** {advice.null}",
        f"- **cost** {advice.cost}",
        f"- **take it** {advice.take}",
    ]
    if record.aliases:
        lines.append(f"- also known as {', '.join(record.aliases)}")
    lines.append(f"- {record.reference}")
    return "\n".join(lines)


def page() -> str:
    """Return the whole page."""
    sections = "\n\n".join(section(record) for record in hl.measures().values())
    table = f"{invariances_table()}\n{SIDE_BY_SIDE}{side_by_side_table()}\n"
    return f"{HEAD}{table}{TAIL}\n## One by one\n\n{sections}\n".replace("inf]", "∞)").replace("[-∞)", "(−∞, ∞)")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"written: {PAGE}")
