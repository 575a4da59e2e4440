"""Pictures show themselves with their description."""

import base64
import io
import re
from html import unescape

import numpy as np
from matplotlib.colors import to_hex, to_rgb
from PIL import Image

from helpers.figures.picture import Picture, new_figure


def image_of(html):
    assert html.startswith("<img ")
    return Image.open(io.BytesIO(base64.b64decode(re.search(r"base64,([^\"]+)", html)[1])))


def test_picture_shows_itself_with_its_description():
    figure, (ax,) = new_figure(1, 1, width=3, height=2)
    ax.plot([0, 1])
    figure.description = 'A line, "rising" & <straight>.'
    html = figure._repr_html_()
    assert unescape(re.search(r'alt="([^"]*)"', html)[1]) == figure.description
    assert 'width="300"' in html
    assert image_of(html).size == (600, 400)
    assert image_of(figure.to_html()).size == (300, 200)
    assert image_of(html).mode == "P"
    colours = {to_hex(np.asarray(c) / 255) for _, c in image_of(html).convert("RGB").getcolors()}
    assert {"#ffffff", "#1f77b4"} & colours == {"#ffffff"} or "#1f77b4" in colours


def test_new_figure_has_its_axes_row_by_row():
    figure, axes = new_figure(2, 3, width=6, height=4)
    assert isinstance(figure, Picture)
    assert figure.description == ""
    assert list(figure.get_size_inches()) == [6, 4]
    assert axes == list(figure.axes)
    assert len(axes) == 6


def test_small_things_keep_their_colours():
    figure, (ax,) = new_figure(1, 1, width=4, height=3)
    ramp = np.linspace(0, 1, 256)
    ax.imshow(
        np.stack([1 - 0.1 * ramp, 1 - 0.4 * ramp, 1 - 0.6 * ramp], axis=1)[None], extent=(0, 1, 0, 1), aspect="auto"
    )
    colours = ("#0072B2", "#882288", "#009E73")
    for k, colour in enumerate(colours):
        ax.plot([0.1, 0.9], [0.2 + 0.3 * k] * 2, color=colour, linewidth=1.5)
    shown = np.array([colour for _, colour in image_of(figure.to_html()).convert("RGB").getcolors()])
    for colour in colours:
        assert abs(shown - 255 * np.array(to_rgb(colour))).max(axis=1).min() < 24
