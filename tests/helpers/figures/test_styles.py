"""Styles: one for each name, told apart with any colour vision and without colour, and none that looks like a class."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from helpers.figures.styles import (
    CLASS_COLOURS,
    CLASS_MARKERS,
    PLAIN,
    STYLES,
    class_colours,
    ordered_colours,
    style,
    styles,
)
from helpers.models.activations import ACTIVATIONS
from helpers.models.heads import HEADS
from helpers.names import display

KINDS = {
    "activations": list(ACTIVATIONS),
    "heads": list(HEADS),
    "attacks": ["fgsm", "bim", "bim as coded", "pgd", "exact", "best", "noise", "proved"],
    "objectives": ["none", "noise", "FGSM", "PGD", "certified"],
    "dirt": ["clean", "noise", "noise, leaking", "heavy tails", "outliers in x", "outliers in y", "outliers in both"],
    "curves": ["validation accuracy", "learned", "memorised", "recovered"],
    "protocols": ["as written", "as coded", "own range", "adam"],
    "sides": ["below", "above"],
}
# Machado et al. (2009): linear RGB as seen with usual vision, without red cones and without green ones.
VISIONS = {
    "usual": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
}


def lab(colour, vision):
    """CIE L*a*b* under D65 of a colour as a vision sees it."""
    rgb = np.array(to_rgb(colour))
    linear = np.array(VISIONS[vision]) @ np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    matrix = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
    xyz = np.array(matrix) @ linear.clip(0, 1) / [0.95047, 1, 1.08883]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def distance(first, second):
    """The smallest ΔE of two colours over all visions; 2 can just be seen side by side."""
    return min(np.linalg.norm(lab(first, vision) - lab(second, vision)) for vision in VISIONS)


@pytest.mark.parametrize("kind", KINDS)
def test_names_of_a_kind_are_told_apart_with_and_without_colour(kind):
    looks = [style(name) for name in KINDS[kind]]
    assert PLAIN not in looks
    for first, second in combinations(looks, 2):
        assert (first.marker, first.fill) != (second.marker, second.fill)
        same = first.colour == second.colour
        assert first.line != second.line if same else distance(first.colour, second.colour) > 15, (first, second)


def test_activations_have_colours_of_their_own():
    assert len({style(name).colour for name in ACTIVATIONS}) == len(ACTIVATIONS)


def test_no_style_looks_like_a_class():
    assert not {look.colour for look in STYLES.values()} & set(CLASS_COLOURS)
    for look in STYLES.values():
        assert min(distance(look.colour, colour) for colour in CLASS_COLOURS[:2]) > 15, look


def test_classes_are_told_apart():
    assert len(set(CLASS_COLOURS)) == len(set(CLASS_MARKERS)) == 10
    assert all(distance(first, second) > 15 for first, second in combinations(CLASS_COLOURS, 2))
    assert class_colours(3) == list(CLASS_COLOURS[:3])
    assert class_colours(12)[10:] == list(CLASS_COLOURS[:2])


def test_a_name_looks_the_same_in_code_and_displayed():
    for name in (name for names in KINDS.values() for name in names):
        assert style(name) == style(display(name))


def test_a_head_looks_like_its_activation():
    for name in ("relu", "gelu"):
        plain, twice, negated = (style(name + ending) for ending in ("", "2", "2_neg"))
        assert plain.colour == twice.colour == negated.colour
        assert [look.line for look in (plain, twice, negated)] == ["-", "--", ":"]


def test_styles_of_numbers_follow_their_order():
    colours = ordered_colours(3)
    assert [look.colour for look in styles([10, 2, 4])] == [colours[2], colours[0], colours[1]]


def test_ordered_colours_differ_from_dark_to_light():
    for n in (1, 2, 5):
        lightness = [lab(colour, "usual")[0] for colour in ordered_colours(n)]
        assert len(set(lightness)) == n
        assert lightness == sorted(lightness)


def test_unknown_names_are_told_apart_from_each_other_and_the_known():
    looks = styles(["one", "as written", "another", "relu"])
    assert looks[1:4:2] == [style("as written"), style("relu")]
    assert len(set(looks)) == 4
    assert style("one") == PLAIN
