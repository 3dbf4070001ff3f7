"""What stands in the cells of a heatmap, of a size that fits them whenever the figure is drawn.

How large a cell is becomes known only then: layouts move axes, and windows are resized. matplotlib is imported here, so that
this module must be imported where something is drawn and not before.
"""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.markers import MarkerStyle
from matplotlib.text import Text
from matplotlib.transforms import Affine2D, IdentityTransform

SMALLEST_FONT = 4.5
"""Points; smaller numbers are left out unless they were asked for."""
LARGEST_FONT = 9.0
LETTER = 0.64
"""Width of a digit, in heights of its font."""
LARGEST_MARK = 6.3
"""Points."""


def cell_width(axes: Any) -> float:
    """Return the width of a cell in points."""
    corners = axes.transData.transform([(0, 0), (1, 1)])
    return float(abs(corners[1] - corners[0]).min() * 72 / axes.figure.dpi)


class CellNumber(Text):
    """A number that fits into its cell; where it would be too small to read it is left out, unless `always`."""

    def __init__(self, column: float, row: float, written: str, *, letters: int, always: bool, color: str) -> None:
        super().__init__(column, row, written, ha="center", va="center", color=color, zorder=4, clip_on=True)
        self.letters, self.always = letters, always
        self.set_in_layout(False)

    def draw(self, renderer: Any, *args: Any, **kwargs: Any) -> None:
        """Draw it."""
        size = min(LARGEST_FONT, 0.92 * cell_width(self.axes) / (LETTER * self.letters))
        if size < SMALLEST_FONT and not self.always:
            return
        if size != self.get_fontsize():
            self.set_fontsize(size)
        super().draw(renderer, *args, **kwargs)


class CellMarks(PathCollection):
    """One mark on each of some cells (column, row), of a share of their width, `corner` cells to the upper right."""

    def __init__(self, axes: Axes, cells: Any, marker: str, share: float, corner: float, **style: Any) -> None:
        shape = MarkerStyle(marker)
        path = shape.get_path().transformed(shape.get_transform())
        aside = Affine2D().translate(corner, corner) + axes.transData
        super().__init__((path,), [LARGEST_MARK**2], offsets=cells, offset_transform=aside, **style)
        self.set_transform(IdentityTransform())
        self.share = share
        self.set_in_layout(False)
        axes.add_collection(self, autolim=False)

    def draw(self, renderer: Any, *args: Any, **kwargs: Any) -> None:
        """Draw them."""
        size = min(LARGEST_MARK, self.share * cell_width(self.axes)) ** 2
        if [size] != list(self.get_sizes()):
            self.set_sizes([size])
        super().draw(renderer, *args, **kwargs)
