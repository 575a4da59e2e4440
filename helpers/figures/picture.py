"""Figures as pictures: size, colours, markers, and a representation that needs no pyplot."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

# Okabe and Ito's colours: cool for ReLU and its relatives, warm for those that saturate. Markers differ as well.
STYLES: Mapping[str, tuple[str, str]] = {
    "relu": ("#0072B2", "o"),
    "leaky_relu": ("#56B4E9", "v"),
    "prelu": ("#004466", "^"),
    "elu": ("#009E73", "D"),
    "gelu": ("#7F7F7F", "P"),
    "silu": ("#444444", "X"),
    "softsign": ("#CC79A7", "p"),
    "sigmoid": ("#D55E00", "s"),
    "tanh": ("#E69F00", "*"),
    "abs": ("#000000", "d"),
}
# The three curves of wrong labels keep their colours wherever they are drawn.
CURVE_STYLES: Mapping[str, tuple[str, str]] = {
    "validation accuracy": ("#000000", "o"),
    "right labels learned": ("#0072B2", "D"),
    "wrong labels memorised": ("#D55E00", "s"),
}
CYCLE = [("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "D"), ("#CC79A7", "v"), ("#E69F00", "^"), ("#56B4E9", "p")]


# Okabe and Ito's blue and vermilion can be told apart with any colour vision, and by their lightness in grey.
CLASS_COLOURS = ("#0072B2", "#D55E00")
CLASS_MARKERS = ("o", "s")

# Further ones of theirs, for lines without an order; tanh and ReLU are the first two wherever both are drawn.
LINE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

# A palette of this size keeps lines and filled areas clean at a quarter of the weight of full colour.
N_COLOURS = 64
PIXELS_PER_INCH = 100


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
        Image.open(raw).convert("RGB").quantize(N_COLOURS).save(small, format="PNG", optimize=True)
        data = base64.b64encode(small.getvalue()).decode()
        width = round(self.get_figwidth() * PIXELS_PER_INCH)
        return (
            f'<img class="frame" alt="{html.escape(self.description)}" width="{width}" '
            f'src="data:image/png;base64,{data}">'
        )

    def _repr_html_(self) -> str:
        return self.to_html(sharpness=2.0)


def layer_colours(n_layers: int) -> list[tuple[float, float, float, float]]:
    """Return one colour for each layer, dark for the first to light for the last."""
    return [mpl.colormaps["viridis"](0.9 * i / max(n_layers - 1, 1)) for i in range(n_layers)]


def new_figure(n_rows: int, n_columns: int, *, width: float, height: float) -> tuple[Picture, list[Axes]]:
    """Return a figure of so many inches with its axes, row by row."""
    figure = Picture(figsize=(width, height), layout="constrained", facecolor="white")
    axes = figure.subplots(n_rows, n_columns, squeeze=False)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, list(axes.flat)
