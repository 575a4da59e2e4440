"""Figures as pictures: their size, their description, and a representation that needs no pyplot."""

from __future__ import annotations

import base64
import html
import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

# A palette of this size, found by octree, keeps the colours of lines, points and areas at a quarter of the weight of
# full colour; the median cut, which follows areas, would turn a few blue points on an orange one grey.
N_COLOURS = 128
PIXELS_PER_INCH = 100
# A wider figure would be shrunk by the page, and its text with it.
PAGE_WIDTH = 8.8


class Picture(Figure):
    """A figure that a notebook shows with a description for those who cannot see it.

    It belongs to no global state of pyplot, and is drawn when it is shown.

    Attributes:
        description: what it shows, in words.
    """

    description = ""

    def to_html(self, *, sharpness: float = 1.0) -> str:
        """Return an ``<img>`` with the description as alternative text and a palette PNG inside.

        Args:
            sharpness: dots for each pixel of the page.
        """
        raw, small = io.BytesIO(), io.BytesIO()
        self.savefig(raw, dpi=PIXELS_PER_INCH * sharpness)
        Image.open(raw).convert("RGB").quantize(N_COLOURS, method=Image.Quantize.FASTOCTREE).save(
            small, format="PNG", optimize=True
        )
        data = base64.b64encode(small.getvalue()).decode()
        width = round(self.get_figwidth() * PIXELS_PER_INCH)
        return (
            f'<img class="frame" alt="{html.escape(self.description)}" width="{width}" '
            f'src="data:image/png;base64,{data}">'
        )

    def _repr_html_(self) -> str:
        return self.to_html(sharpness=2.0)


def new_figure(n_rows: int, n_columns: int, *, width: float, height: float) -> tuple[Picture, list[Axes]]:
    """Return a figure of so many inches with its axes, row by row."""
    figure = Picture(figsize=(width, height), layout="constrained", facecolor="white")
    axes = figure.subplots(n_rows, n_columns, squeeze=False)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, list(axes.flat)
