"""One colour, marker and line for each name, the same in every figure; classes and ordered values have their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from types import MappingProxyType
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.colors import to_hex

from helpers.names import display

Line = Literal["-", "--", ":", "-."]
Fill = Literal["full", "none", "bottom"]


@dataclass(frozen=True)
class Style:
    """How a name is drawn: no two names of a kind differ by their colour alone.

    Attributes:
        colour: as ``#RRGGBB``.
        marker: matplotlib's name of it.
        line: solid, dashed, dotted or both.
        fill: of the marker: full, none, or its lower half.
    """

    colour: str
    marker: str = "o"
    line: Line = "-"
    fill: Fill = "full"

    def options(self) -> dict[str, Any]:
        """Return the keywords of ``ax.plot`` that draw it."""
        return {
            "color": self.colour,
            "marker": self.marker,
            "linestyle": self.line,
            "fillstyle": self.fill,
            "markerfacecoloralt": "white",
        }


# Okabe and Ito's blue and vermilion can be told apart with any colour vision, and by their lightness in grey. They
# belong to the first two classes and to nothing else.
CLASS_COLOURS = (
    "#0072B2", "#D55E00", "#D6CB1E", "#5C1010", "#88D1F0", "#2900CC", "#7FB069", "#F5A3B8", "#6E6E6E", "#123049",
)  # fmt: skip
CLASS_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "p", "h")

# Further ones of theirs, and what lies between them: green for the piecewise linear, purple for what saturates on both
# sides, orange and brown for the smooth ones between. Any two differ with any colour vision, and in their markers.
_BLACK, _GREY, _GREEN, _ORANGE, _PURPLE, _SKY, _BROWN = (
    "#000000", "#595959", "#009E73", "#E69F00", "#882288", "#56B4E9", "#8A4D0F",
)  # fmt: skip
_ACTIVATIONS = {
    "ReLU": Style(_GREEN, "o"),
    "Leaky ReLU": Style("#0B5351", "v"),
    "PReLU": Style("#17BCCF", "^"),
    "tanh": Style(_PURPLE, "s"),
    "sigmoid": Style("#9900FF", "p"),
    "softsign": Style("#D166FF", "h"),
    "ELU": Style(_ORANGE, "D"),
    "GELU": Style(_BROWN, "P"),
    "SiLU": Style("#47371F", "X"),
    "Abs": Style(_BLACK, "d"),
}
# A head looks like its activation; line and marker tell what becomes of the last layer.
_HEADS = {name + "2": replace(style, line="--", fill="none") for name, style in _ACTIVATIONS.items()}
_HEADS |= {name + "2-Neg": replace(style, line=":", fill="bottom") for name, style in _ACTIVATIONS.items()}
# An attack and a training against it look alike; black is the truth, green what is proved.
_ATTACKS = {
    "FGSM": Style(_SKY, "o"),
    "BIM": Style(_ORANGE, "^"),
    "BIM as coded": Style(_ORANGE, "v", "--", "none"),
    "PGD": Style(_PURPLE, "s"),
    "best": Style(_GREY, "P", "-."),
    "exact": Style(_BLACK, "D"),
    "proved": Style(_GREEN, "d", "--"),
    "certified": Style(_GREEN, "d"),
    "noise": Style(_BROWN, "X", ":"),
    "none": Style(_BLACK, "*", ":"),
}
_DIRTY = {
    "clean": Style(_BLACK, "o"),
    "noise, leaking": Style(_BROWN, "X", "--", "none"),
    "heavy tails": Style(_GREEN, "v", "--"),
    "outliers in x": Style(_ORANGE, "s"),
    "outliers in y": Style(_PURPLE, "d", "-."),
    "outliers in both": Style(_SKY, "P"),
    "validation accuracy": Style(_BLACK, "o"),
    "right labels learned": Style(_GREEN, "D"),
    "wrong labels memorised": Style(_PURPLE, "s", "--"),
    "wrong labels corrected": Style(_ORANGE, "^", ":"),
    "dropout and decay": Style(_ORANGE, "v", "--"),
}
_PROTOCOLS = {
    "as written": Style(_GREEN, "D"),
    "as coded": Style(_PURPLE, "s", "--"),
    "own range": Style(_ORANGE, "^", "-."),
    "Adam": Style(_BLACK, "o", ":"),
    "below": Style(_GREEN, "v"),
    "above": Style(_PURPLE, "^", "--"),
}
STYLES: Mapping[str, Style] = MappingProxyType(_ACTIVATIONS | _HEADS | _ATTACKS | _DIRTY | _PROTOCOLS)

PLAIN = Style("#333333")
_SPARE = (
    Style(_GREEN, "o"), Style(_PURPLE, "s", "--"), Style(_ORANGE, "^", "-."), Style(_BLACK, "D", ":"),
    Style(_SKY, "v"), Style(_BROWN, "P", "--"), Style(_GREY, "X", "-."),
)  # fmt: skip


def style(name: object) -> Style:
    """Return the style of a name, in code or as it is displayed; a name without one of its own gets a plain one."""
    return STYLES.get(display(name), PLAIN)


def styles(names: Sequence[object]) -> list[Style]:
    """Return styles that tell these names apart, each its own: by rank if they are numbers, else by name."""
    if all(isinstance(name, Real) for name in names):
        ranks = {value: rank for rank, value in enumerate(sorted(set(names)))}  # type: ignore[type-var]
        colours = ordered_colours(len(ranks))
        return [Style(colours[ranks[name]], CLASS_MARKERS[ranks[name] % len(CLASS_MARKERS)]) for name in names]
    spare = [style for style in _SPARE if style not in map(STYLES.get, map(display, names))]
    unknown = [name for name in names if display(name) not in STYLES]
    rest = {name: spare[k % len(spare)] for k, name in enumerate(unknown)}
    return [rest.get(name) or style(name) for name in names]


def ordered_colours(n: int) -> list[str]:
    """Return n colours from dark to light for what has an order: layers, entanglements, radii."""
    return [to_hex(mpl.colormaps["viridis"](0.8 * k / max(n - 1, 1))) for k in range(n)]


def class_colours(n_classes: int) -> list[str]:
    """Return a colour for each class, the same for a class whatever their number; from the eleventh on they repeat."""
    return [CLASS_COLOURS[k % len(CLASS_COLOURS)] for k in range(n_classes)]
