"""Digits: proved ≤ best attack ≤ every attack, within the bounds of a pixel."""

import pytest

from helpers.experiments.robustness import digit_results
from helpers.training.protocol import Training


@pytest.fixture(scope="module")
def found():
    return digit_results(
        "digits",
        activations=["tanh", "relu"],
        seeds=[0, 1],
        epsilons=[0.05, 0.02],
        n_points=15,
        training=Training(epochs=15),
        hidden_layers=2,
        width=20,
    )


def test_digits_are_learned(found):
    assert (found["test_accuracy"] > 0.8).all()


def test_proved_best_and_single_attacks_come_in_order(found):
    robust = found["robust_accuracy"]
    assert list(robust["attack"].values) == ["fgsm", "bim", "pgd", "best", "proved"]
    assert robust["epsilon"].values.tolist() == [0.02, 0.05]
    proved, best = robust.sel(attack="proved"), robust.sel(attack="best")
    assert (proved <= best).all()
    assert float(proved.max()) > 0  # the bounds say something
    for name in ("fgsm", "bim", "pgd"):
        assert (best <= robust.sel(attack=name)).all()
    assert (robust.diff("epsilon") <= 1e-12).all()


def test_search_without_gradients_does_not_win(found):
    assert float(found["search_wins"].max()) <= 1 / 15
