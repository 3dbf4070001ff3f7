"""Write docs/performance.md from what `make bench` measured: python benchmarks/table.py results.json

The sections from BY_HAND on are figures of single scripts, and stay as they are.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"
BY_HAND = "## All measures of similarity structures in one call"
PEERS = {
    "test_pytorch_cka": "pytorch-cka",
    "test_ckatorch": "ckatorch",
    "test_torch_cka": "torch-cka",
    "test_repsim": "repsim",
}


def memory(name: str) -> int:
    """Return MiB beyond the data."""
    done = subprocess.run([sys.executable, str(HERE / "memory.py"), name], capture_output=True, text=True, check=True)
    return int(done.stdout)


def processor() -> str:
    """Return the processor's name and what it has."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in info if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {len(names)} cores"


def main(results: Path) -> None:
    """Write the page."""
    found = {bench["name"]: bench for bench in json.loads(results.read_text())["benchmarks"]}
    seconds = {name: bench["stats"]["median"] for name, bench in found.items()}
    floor = {lib: found[f"test_floor[{lib}]"]["extra_info"] for lib in ("numpy", "torch")}
    peer = seconds["test_pytorch_cka"]
    taken = {name: memory(name) for name in ("homolog-numpy", "homolog-torch", "pytorch-cka")}
    lines = [
        "# Performance",
        "",
        f"Measured on {processor()}, Python {platform.python_version()}, numpy {version('numpy')}, torch {version('torch')},",
        "by `make bench`, which runs everything in one process on an otherwise idle machine. It writes this page",
        "except for its last sections, which name the commands of their figures.",
        "",
        "## All pairs of debiased linear CKA",
        "",
        "2 × 12 layers, widths 256, 512, 1,024 and 2,048, n = 2,048, float32. The floor is n²·Σp operations (the upper half of",
        "every structure, once) at the rate of a product of two different matrices measured in the same run:",
        f"{floor['numpy']['rate'] / 1e9:.0f} GFLOP/s with NumPy, {floor['torch']['rate'] / 1e9:.0f} with PyTorch. The error is",
        "the largest of four entries against float64.",
        "",
        "| | seconds | × floor | speed beside pytorch-cka | error | MiB beyond the data |",
        "|---|---|---|---|---|---|",
    ]
    for lib in ("numpy", "torch"):
        lines.append(f"| floor, {lib} | {floor[lib]['seconds']:.2f} | 1.00 | {peer / floor[lib]['seconds']:.1f}× | | |")
    for lib in ("numpy", "torch"):
        name, least = f"test_homolog[{lib}]", floor[lib]["seconds"]
        lines.append(
            f"| **homolog**, {lib} | {seconds[name]:.2f} | {seconds[name] / least:.2f} | {peer / seconds[name]:.1f}× | "
            f"{found[name]['extra_info']['error']:.0e} | {taken[f'homolog-{lib}']} |"
        )
    for name, package in PEERS.items():
        if name in found:
            error = found[name]["extra_info"]["error"]
            held = taken["pytorch-cka"] if package == "pytorch-cka" else ""
            lines.append(
                f"| {package} {version(package)} | {seconds[name]:.2f} | {seconds[name] / floor['torch']['seconds']:.1f} | "
                f"{peer / seconds[name]:.2g}× | {error:.0e} | {held} |"
            )
    loop, ours = seconds["test_loop_over_pairs_cca_alone"], seconds["test_six_subspace_measures"]
    lines += [
        "",
        "repsim compares all 24 layers with each other, in float64. An error above 1e-6 is a wrong value, not rounding.",
        "",
        "## What sharing saves",
        "",
        "| 6 × 6 layers, n = 4,096, p = 256, float64 | seconds |",
        "|---|---|",
        f"| six subspace measures in one call | {ours:.2f} |",
        f"| a loop over the 36 pairs, SVD-based CCA alone | {loop:.2f} ({loop / ours:.1f}×) |",
        "",
        "| 10 models × 9 layers (widths 64, 128, 256), n = 2,000, five measures | one call, all pairs | ten calls of two |",
        "|---|---|---|",
    ]
    for kind in ("structure", "subspace"):
        one, calls = (
            seconds[f"test_{name}[{kind}]"] for name in ("many_models_in_one_call", "ten_calls_of_two_models")
        )
        lines.append(f"| {kind} family | {one:.1f} s | {calls:.1f} s |")
    lines += [
        "",
        "One call compares 4,095 pairs of layers, ten calls 810. In the structure family what is done once per layer outweighs",
        "what is done per pair; in the subspace family a pair costs a product and a decomposition of its own, and no sharing",
        "makes up for five times as many.",
        "",
    ]
    _, heading, kept = PAGE.read_text(encoding="utf-8").partition(BY_HAND)
    PAGE.write_text("\n".join(lines) + "\n" + heading + kept, encoding="utf-8")
    print(f"written: {PAGE}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
