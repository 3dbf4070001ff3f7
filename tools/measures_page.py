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

Made from the registry by `python tools/measures_page.py`; the tests fail when this page is stale, and execute what it says: every
invariance is tried on data, and every one that is not claimed is broken by a witness.

## What leaves an index unchanged

"both" means that either side may be transformed, x or y that only this side may. Orthogonal maps are rotations and reflections of the
features, permutations reorder them, isotropic scaling multiplies all by one positive number, translation adds one vector to every
example. An index that ignores invertible linear maps says the same of any two layers of full rank with as many features as
examples.

"""

SIDE_BY_SIDE = """
## All of them on one pair of networks

Two networks of the demonstration, trained on scikit-learn's digits from seeds 0 and 1: seven layers each, 1,797 images, no layer too
wide for its examples. Light is alike; a dot marks the best match of a row. Where seeds do not matter, dots lie on the diagonal.

![Every measure between the layers of two networks trained from different seeds](pictures/all_measures.png)

"Found" is the share of layers whose most alike layer of the other network is the one in the same place, both ways (chance is 14 %):
one pair of small networks on one data set, no ranking. Seconds are for all 49 pairs on two cores
(`python examples/all_measures.py docs/pictures`). The first columns are what independent Gaussian data score, 200 examples with 20
and with 150 features on each side: where that is far from 0 (of a similarity) a value means nothing without it. `deconfounded_cka`
is given no inputs there, and the images on the networks.

"""

TAIL = """
## Which one when

| you ask | take | because |
|---|---|---|
| which layers correspond | `cka`, `cka(kernel=rbf)` | of the paper's indexes these alone find the corresponding layers of networks trained from different seeds |
| how alike, with few examples or many features | `cka(estimator=debiased)` | independent data score about 0, whatever the shapes |
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

- **Saturation.** With r_x + r_y > n − 1 some canonical correlations are 1 whatever the data, with r >= n − 1 all of them: CCA, SVCCA at
  threshold 1, PWCCA and regression say nothing then. homolog warns (`SaturationWarning`).
- **The level of independent data.** Biased CKA of 50 examples with 500 features is 0.9 for independent data. The exact level under
  permutation stands beside the values as `<measure>_null`, and above 0.1 there is a warning (`NullLevelWarning`).
- **Negative values.** A debiased estimate is unbiased around 0: slightly negative means nothing in common. It is not clipped, since the
  mean of clipped values would be biased again.
- **Distance or similarity.** `kind` says which; `correspondence` and the pictures turn distances around.
- **One outlier.** A single shared outlier can carry linear CKA and regression. Look at the debiased value, and at the rows of largest
  norm.
- **Few neurons.** A narrow layer biases CKA down: its principal components cannot hold what a wide one holds.
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
