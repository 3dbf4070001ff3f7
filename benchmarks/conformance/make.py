"""Write docs/conformance.md: what packages compute where a definition is published.

In an environment of its own, since some packages ask for other builds of PyTorch than there are here:

    python -m venv peers && . peers/bin/activate
    pip install -c constraints.txt -e . torch -r benchmarks/conformance/needs.txt
    pip install --no-deps -r benchmarks/conformance/requirements.txt
    python benchmarks/conformance/make.py
"""

from __future__ import annotations

import contextlib
import io
import math
import platform
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from cases import CASES, LAST, plain  # noqa: E402
from definitions import DEFINITIONS  # noqa: E402
from packages import BATCH, IN_BATCHES, PACKAGES  # noqa: E402

PAGE = HERE.parent.parent / "docs" / "conformance.md"
SEED = 20261125
CLOSE = 1e-4

HEAD = """# Conformance

The table compares packages that install from PyPI with published definitions, on data as they occur in practice. It was made by
`python benchmarks/conformance/make.py`; `benchmarks/conformance/packages.py` holds every call. It holds for these versions only:
{versions}; Python {python}.

Each cell is the value that a package returns. ✓ means that it is within {close:.0e} of the definition; otherwise its distance
from the definition stands in brackets. The definition is computed by brute force in float64 from the same data
(`benchmarks/conformance/definitions.py`). Packages that take PyTorch tensors, homolog among them, are given float32, as networks
make them; the others get float64. "error" stands for an exception, with its name.

| case | data |
|---|---|
| golden | the data of the authors' notebook: 100 examples, 10 and 10 features |
| plain | 60 examples, 5 and 7 features that share three directions |
| mean of 1,000 | the same about means of 1,000, with standard deviations of about 3: float32 rounds these data to 6e-5 |
| scaled by 1e-6 | the same, one side times 1e-6 |
| rank deficient | two features that are sums of others |
| with itself | the same array twice: a similarity should be 1, a distance 0 |
| dead features | some features that never vary |
| 30 × 80, independent | 30 examples, 80 and 90 independent features |
| last batch of 2 | 66 examples in batches of {batch}, where batches are taken; the definition, of all rows, is met up to chance |

"""


def told(call, x: np.ndarray, y: np.ndarray, truth: float, **options: int) -> str:
    """Return a cell."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            value = call(x, y, **options)
    except Exception as error:  # whatever a package raises is what the table says of it
        return f"error: {type(error).__name__}"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinite"
    off = abs(value - truth)
    return f"{value:.4f} ✓" if off <= CLOSE else f"**{value:.4f}** ({off:.0e})"


def section(definition: str) -> list[str]:
    """One definition: packages in rows, cases in columns."""
    truth, packages = DEFINITIONS[definition], PACKAGES[definition]
    batched = bool(IN_BATCHES & set(packages))
    columns = [*CASES, *([LAST] if batched else [])]
    lines = [f"## {definition}", "", "| package | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    data = {name: make(np.random.default_rng(SEED)) for name, make in CASES.items()}
    wanted = [f"{truth(*pair):.4f}" for pair in data.values()]
    last = plain(np.random.default_rng(SEED), 2 * BATCH + 2)
    lines.append("| *definition* | " + " | ".join(wanted + [f"{truth(*last):.4f}"] * batched) + " |")
    for package, call in packages.items():
        cells = [told(call, *pair, truth(*pair)) for pair in data.values()]
        if batched:
            cells.append(told(call, *last, truth(*last), size=BATCH) if package in IN_BATCHES else "")
        lines.append(f"| {package} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def main() -> None:
    warnings.simplefilter("ignore")
    names = [line.split("==")[0] for line in (HERE / "requirements.txt").read_text().split()]
    versions = ", ".join(f"{name} {version(name)}" for name in ("homolog", "torch", "numpy", "scipy", *names))
    head = HEAD.format(versions=versions, python=platform.python_version(), close=CLOSE, batch=BATCH)
    body = [line for definition in DEFINITIONS for line in section(definition)]
    PAGE.write_text(head + "\n".join(body), encoding="utf-8")
    print(f"written: {PAGE}")


if __name__ == "__main__":
    main()
