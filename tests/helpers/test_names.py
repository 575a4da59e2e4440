"""Display names: every name that a reader meets has its spelling, and no two names share one."""

import pytest

from helpers.attacks.curves import study_attacks
from helpers.models.activations import ACTIVATIONS
from helpers.models.heads import HEAD_NAME
from helpers.names import DISPLAY_NAMES, caption, display


def test_every_activation_head_and_attack_of_the_studies_has_a_display_name():
    assert {*ACTIVATIONS, *HEAD_NAME.options, *study_attacks()} <= set(DISPLAY_NAMES)


def test_no_two_names_look_alike():
    assert len(set(DISPLAY_NAMES.values())) == len(DISPLAY_NAMES)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("relu", "ReLU"),
        ("tanh", "tanh"),
        ("abs2_neg", "Abs2-Neg"),
        ("bim as coded", "BIM as coded"),
        ("as coded", "as coded"),
        ("drop_off", "drop off"),
        (0.5, "0.5"),
    ],
)
def test_display(name, text):
    assert display(name) == text


@pytest.mark.parametrize(
    ("dimension", "value", "text"),
    [
        ("activation", "relu", "ReLU"),
        ("layer", 2, "L2"),
        ("side", "below", "from below"),
        ("entanglement", 5, "entanglement 5"),
        ("batch_size", 50.0, "batch size 50"),
        ("epsilon", 0.5, "ε = 0.5"),
        ("share", "10 % wrong", "10 % wrong"),
    ],
)
def test_caption(dimension, value, text):
    assert caption(dimension, value) == text
