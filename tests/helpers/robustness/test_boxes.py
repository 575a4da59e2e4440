"""Regions are what points may become, and the extremes of linear functions on them are attained."""

import pytest
import torch

from helpers.models.ensemble import Ensemble
from helpers.norms import NORMS
from helpers.robustness.boxes import region


def test_a_box_is_cut_by_the_limits_of_the_data():
    ensemble = Ensemble([2, 3, 2], ["relu"], [0])
    where = region(ensemble, torch.tensor([[0.1, 0.95]]), 0.2, limits=(0.0, 1.0))
    torch.testing.assert_close(where.centre - where.half, torch.tensor([[[0.0, 0.75]]]).double())
    torch.testing.assert_close(where.centre + where.half, torch.tensor([[[0.3, 1.0]]]).double())
    assert where.points(slice(0, 0)).centre.shape == (1, 0, 2)


def test_limits_may_differ_between_coordinates():
    ensemble = Ensemble([2, 3, 2], ["relu"], [0])
    limits = (torch.tensor([0.0, 0.9]), torch.tensor([0.2, 2.0]))
    where = region(ensemble, torch.tensor([[0.1, 0.95]]), 0.2, limits=limits)
    torch.testing.assert_close(where.centre - where.half, torch.tensor([[[0.0, 0.9]]]).double())
    torch.testing.assert_close(where.centre + where.half, torch.tensor([[[0.2, 1.15]]]).double())


def test_a_point_on_a_limit_lies_in_its_box():
    ensemble = Ensemble([1, 3, 2], ["relu"], [0])
    for limit in (0.1, 0.7):  # in float32 one is larger, the other smaller
        x = torch.tensor([[limit]])
        for limits in ((limit, 5.0), (-5.0, limit)):
            where = region(ensemble, x, 0.2, limits=limits)
            assert ((x.double() - where.centre).abs() <= where.half + 1e-16).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("limits", [(0.0, 1.0), (1.0, -1.0), (2.0, 2.0), (float("nan"), 9.0)])
def test_no_region_where_limits_and_points_do_not_fit(norm, limits):
    ensemble, x = Ensemble([2, 3, 2], ["relu"], [0]), torch.tensor([[0.5, 5.0]])
    with pytest.raises(ValueError, match="limits"):
        region(ensemble, x, 0.2, norm=norm, limits=limits)


def test_region_takes_a_radius_for_each_point():
    ensemble = Ensemble([2, 3, 2], ["relu"] * 2, [0, 1])
    radii = torch.tensor([[0.1, 0.2, 0.3], [1.0, 2.0, 3.0]])
    where = region(ensemble, torch.zeros(3, 2), radii)
    torch.testing.assert_close(where.half, radii.double()[..., None].expand(-1, -1, 2))
    assert region(ensemble, torch.zeros(3, 2), radii, norm="l2").radius.shape == (2, 3, 1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_extremes_of_linear_functions_are_attained_in_the_region(norm):
    stream = torch.Generator().manual_seed(0)
    ensemble = Ensemble([3, 3, 2], ["relu"] * 2, [0, 1])
    x, rows = torch.randn(2, 5, 3, generator=stream), torch.randn(2, 4, 3, generator=stream).double()
    bias = torch.randn(2, 4, generator=stream).double()
    where = region(ensemble, x, 0.3, norm=norm)
    lower, upper = where.affine(rows, bias)
    each = rows[:, None].expand(-1, 5, -1, -1)
    torch.testing.assert_close(where.least(each) + bias[:, None], lower)
    step = 0.3 * NORMS[norm].ascent(each)
    for bound, sign in ((lower, -1), (upper, 1)):
        value = (each * (x.double()[:, :, None] + sign * step)).sum(-1) + bias[:, None]
        torch.testing.assert_close(value, bound)
    assert (where.size >= (x.double()[:, :, None] + step).abs().amax(2) - 1e-12).all()
