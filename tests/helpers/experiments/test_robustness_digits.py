"""Digits: proved ≤ best attack ≤ every attack, within the bounds of a pixel."""

import pytest

from helpers.experiments.robustness import digit_results, digit_sweep
from helpers.training.protocol import Training


@pytest.fixture(scope="module")
def sweep():
    return digit_sweep(
        "digits",
        activations=["tanh", "relu"],
        seeds=[0, 1],
        training=Training(epochs=15),
        hidden_layers=2,
        width=20,
    )


@pytest.fixture(scope="module")
def found(sweep):
    return digit_results(sweep, epsilons=[0.05, 0.02], n_points=15)


def test_pixels_go_from_0_to_1_and_are_held_once(sweep):
    assert sweep.axes == {"activation": ["tanh", "relu"], "seed": [0, 1]}
    for sets in sweep.sets.values():
        assert all(data is sets[0] for data in sets)
        assert (float(sets[0].x.min()), float(sets[0].x.max())) == (0, 1)


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


def test_wrong_arguments():
    options = {"activations": ["relu"], "seeds": [0], "training": Training(epochs=1)}
    for change, words in (
        ({"name": "letters"}, "name must be one of digits, mnist"),
        ({"activations": []}, "activations must be a non-empty list"),
        ({"seeds": [0, 0]}, "seeds must be a non-empty list without repetitions"),
        ({"hidden_layers": 0}, "hidden_layers must be a whole number at least 1"),
    ):
        with pytest.raises(ValueError, match=words):
            digit_sweep(**{"name": "digits"} | options | change)
