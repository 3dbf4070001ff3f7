"""Names beside points, where they cover each other least."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

FONT = 8.0
GAP = 6.0
"""Points between the middle of a mark and its name."""
SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
"""Where a name may stand, the best first: right, left, above, below, and the corners."""
FURTHER = (1.0, 2.4, 4.0)
"""How far out it is tried, in gaps; from the second on a thin line leads to its point."""


TRIES = 4
"""How often the axes are made wider and the names placed anew."""
WIDER = 1.2
"""Wider than names reach, since all points move towards each other."""


def place_labels(ax: Any, points: np.ndarray, names: Sequence[str]) -> None:
    """Write a name beside every point that has one; where points are crowded, it stands further off and a line leads to it.

    The axes become wider where names would reach over their edges.
    """
    named = np.array([k for k, name in enumerate(names) if name], dtype=int)
    written = [
        ax.annotate(names[k], points[k], (0, 0), textcoords="offset points", ha="center", va="center", fontsize=FONT)
        for k in named
    ]
    for _ in range(TRIES):
        places, beyond = _places(ax, points, named, written)
        if not beyond.any():
            break
        _widen(ax, beyond)
    for point, name, (far, offset) in zip(points[named], written, places, strict=True):
        name.xyann = tuple(offset)
        if far > 1:
            line = {"arrowstyle": "-", "color": "0.6", "linewidth": 0.6, "shrinkA": 1, "shrinkB": 3}
            ax.annotate("", point, offset, textcoords="offset points", arrowprops=line)


def _places(
    ax: Any, points: np.ndarray, named: np.ndarray, written: Sequence[Any]
) -> tuple[list[tuple[float, np.ndarray]], np.ndarray]:
    """Return how far out each name stands, and where; and by how much of the axes they reach over each edge."""
    ax.figure.draw_without_rendering()  # lays the axes out, so that it is known where points are
    scale = 72 / ax.figure.dpi
    at = ax.transData.transform(points) * scale
    window = ax.get_window_extent()
    edges = np.array([window.x0, window.y0, window.x1, window.y1]) * scale
    others = np.hstack([at - 4, at + 4])
    places = []
    beyond = np.zeros(4)
    for place, name in zip(at[named], written, strict=True):
        extent = name.get_window_extent()
        size = np.array([extent.width, extent.height]) * scale
        tried = [(far, _box(place, np.array(side), far, size)) for far in FURTHER for side in SIDES]
        costs = [
            _covered(box, others) + 4 * _outside(box, edges) + 15 * (far - 1) + 0.01 * rank
            for rank, (far, box) in enumerate(tried)
        ]
        far, box = tried[int(np.argmin(costs))]
        others = np.vstack([others, box])
        places.append((far, (box[:2] + box[2:]) / 2 - place))
        beyond = np.maximum(beyond, np.concatenate([edges[:2] - box[:2], box[2:] - edges[2:]]))
    return places, beyond / np.tile(edges[2:] - edges[:2], 2)


def _widen(ax: Any, beyond: np.ndarray) -> None:
    """Move the edges of the axes outwards, by parts of their length (left, bottom, right, top); both grow alike."""
    needed = beyond.clip(min=0).reshape(2, 2)
    growth = WIDER * needed.sum(axis=0).max()
    for axis, (low, high) in enumerate((ax.get_xlim(), ax.get_ylim())):
        total = needed[:, axis].sum()
        parts = needed[:, axis] / total if total else np.full(2, 0.5)
        before, after = (high - low) * growth * parts
        (ax.set_xlim, ax.set_ylim)[axis](low - before, high + after)


def _box(place: np.ndarray, side: np.ndarray, far: float, size: np.ndarray) -> np.ndarray:
    """Return the box (left, bottom, right, top) of a name at a side of a point."""
    middle = place + side * (GAP * far + size / 2 * np.abs(side))
    return np.concatenate([middle - size / 2, middle + size / 2])


def _covered(box: np.ndarray, others: np.ndarray) -> float:
    """Return the area that a box shares with others."""
    wide = np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0])
    high = np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1])
    return float((np.maximum(wide, 0) * np.maximum(high, 0)).sum())


def _outside(box: np.ndarray, edges: np.ndarray) -> float:
    """Return how far a box reaches over the edges of the axes."""
    return float(np.maximum(edges[:2] - box[:2], 0).sum() + np.maximum(box[2:] - edges[2:], 0).sum())
