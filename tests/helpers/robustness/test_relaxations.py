"""Lines lie on their side of every activation, touch it, and close in with the square of the interval."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.models.activations import ACTIVATIONS, LEFT_SLOPES, activation
from helpers.robustness.relaxations import LOWEST, STEEPEST, TURNS, _second_derivative, derivative_image, image, relax

QUICK = settings(max_examples=60, deadline=None, derandomize=True)
NAMES = pytest.mark.parametrize("name", ACTIVATIONS)
PLACE = st.one_of(st.floats(-6, 6), st.floats(-60, 60), st.sampled_from([0.0, -1e-9, 2**0.5, -2.4, 2.3993572805154675]))
WIDTH = st.one_of(st.floats(0, 12), st.floats(0, 100), st.sampled_from([0.0, 1e-15, 1e-12, 1e-6, 1e-3]))
PRELU = st.sampled_from([0.25, 0.0, 1.0, -0.7, 1.8, 1e-3])


def double(*values):
    return [torch.tensor([value], dtype=torch.float64) for value in values]


def intervals(name, place, width, slope):
    lower, upper = double(place, place + width)
    extra = double(slope) if name == "prelu" else []
    dense = lower + (upper - lower) * torch.linspace(0, 1, 2001, dtype=torch.float64)
    special = torch.tensor([0.0, -1e-300, *TURNS.values(), *(-t for t in TURNS.values()), *LOWEST.values()])
    inside = special.double()[(special >= lower) & (special <= upper)]
    z = torch.cat([dense, lower, upper, inside]).clamp(float(lower), float(upper))
    return lower, upper, extra, z


@NAMES
@pytest.mark.parametrize("lines", ["chord", "adaptive"])
@QUICK
@given(PLACE, WIDTH, PRELU)
def test_lines_enclose_the_activation(name, lines, place, width, slope):
    lower, upper, extra, z = intervals(name, place, width, slope)
    found = relax(name, lower, upper, *extra, lines=lines)
    value = activation(name).function(z, *extra)
    # The value's own rounding: two units in the last place, of z where 1 + erf(z/√2) cancels.
    cancelled = z.abs() if name in ("gelu", "silu") else torch.zeros_like(z)
    tolerance = 5e-16 * (value.abs() + cancelled + (found.lower_slope * z).abs() + (found.upper_slope * z).abs())
    assert (found.lower_slope * z + found.lower_offset <= value + tolerance).all()
    assert (found.upper_slope * z + found.upper_offset >= value - tolerance).all()


@NAMES
@QUICK
@given(PLACE, WIDTH, PRELU)
def test_chords_lines_are_parallel_and_touch(name, place, width, slope):
    lower, upper, extra, z = intervals(name, place, width, slope)
    found = relax(name, lower, upper, *extra)
    assert torch.equal(found.lower_slope, found.upper_slope)
    value = activation(name).function(z, *extra) - found.lower_slope * z
    gap = float(found.upper_offset - found.lower_offset)
    # Dense points reach the extremes up to the curvature between two of them.
    assert gap <= float(value.max() - value.min()) + (width / 2000) ** 2 + 1e-13 * (1 + abs(place) + width)


@NAMES
@pytest.mark.parametrize("place", [-3.0, -1.0, 0.3, 1.2, 2.0])
def test_gap_shrinks_with_the_square_of_the_width(name, place):
    def gap(width):
        lower, upper, extra, _ = intervals(name, place, width, 0.25)
        found = relax(name, lower, upper, *extra)
        return float(found.upper_offset - found.lower_offset)

    assert gap(1e-3) <= 1e-6 / 8 + 1e-14  # |ψ''| ≤ 1 but for softsign at 0
    assert gap(1e-3) >= 0


@NAMES
@QUICK
@given(PLACE, WIDTH, PRELU)
def test_images_are_those_of_dense_points(name, place, width, slope):
    lower, upper, extra, z = intervals(name, place, width, slope)
    psi = activation(name)
    value, derivative = psi.function(z, *extra), psi.derivative(z, *extra)
    low, high = image(name, lower, upper, *extra)
    assert low <= value.min() + 1e-15 * (1 + value.abs().max())
    assert high >= value.max() - 1e-15 * (1 + value.abs().max())
    assert low >= value.min() - (width / 2000) ** 2 - 1e-12
    assert high <= value.max() + (width / 2000) ** 2 + 1e-12
    steep = derivative_image(name, lower, upper, *extra)
    assert steep[0] <= derivative.min() + 1e-14
    assert steep[1] >= derivative.max() - 1e-14
    if name not in LEFT_SLOPES and name != "softsign":  # a smooth ψ': not wider than needed either
        assert steep[0] >= derivative.min() - width / 1000 - 1e-12
        assert steep[1] <= derivative.max() + width / 1000 + 1e-12


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "abs", "prelu"])
def test_piecewise_linear_ones_are_exact_beside_the_kink(name):
    extra = double(0.25) if name == "prelu" else []
    for lower, upper, right in ((-2.0, -0.5, False), (0.5, 3.0, True)):
        found = relax(name, *double(lower, upper), *extra)
        slope = 1.0 if right else (LEFT_SLOPES[name] if name != "prelu" else 0.25)
        assert float(found.lower_slope) == pytest.approx(slope, abs=1e-15)
        assert float(found.upper_offset - found.lower_offset) < 2e-14


def test_relus_two_choices_are_the_known_ones():
    chord = relax("relu", *double(-1.0, 3.0))
    assert [float(v) for v in chord] == pytest.approx([0.75, 0.0, 0.75, 0.75])
    adaptive = relax("relu", *double(-1.0, 3.0), lines="adaptive")
    assert [float(v) for v in adaptive] == pytest.approx([1.0, 0.0, 0.75, 0.75])
    assert float(relax("relu", *double(-3.0, 1.0), lines="adaptive").lower_slope) == 0.0


@NAMES
def test_steepest_is_the_largest_derivative(name):
    z = torch.linspace(-20, 20, 400001, dtype=torch.float64)
    extra = double(0.25) if name == "prelu" else []
    largest = float(activation(name).derivative(z, *extra).abs().max())
    assert largest <= STEEPEST[name] <= largest + 2e-4


@pytest.mark.parametrize("name", TURNS)
def test_turns_and_lowest_points_are_where_derivatives_vanish(name):
    turn, lowest = double(TURNS[name], LOWEST[name])
    assert abs(float(_second_derivative(name, turn))) < 1e-14
    assert abs(float(activation(name).derivative(lowest))) < 1e-14
    z = torch.linspace(-9, 9, 1001, dtype=torch.float64)
    quotient = (activation(name).derivative(z + 1e-5) - activation(name).derivative(z - 1e-5)) / 2e-5
    torch.testing.assert_close(_second_derivative(name, z), quotient, rtol=0, atol=1e-9)


def test_unknown_lines_are_refused():
    with pytest.raises(ValueError, match="lines must be one of adaptive, chord"):
        relax("relu", *double(-1.0, 1.0), lines="tangent")
