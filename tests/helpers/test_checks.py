"""Rules accept and refuse the right things, in a sentence that helps."""

import copy
import sys
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.checks import Choice, Flag, Integer, ListOf, Real, check_namespace, check_parameters

ANY = object()


@pytest.mark.parametrize(
    ("rule", "value", "returned"),
    [
        (Real(), 1, 1.0),
        (Real(), -2.5, -2.5),
        (Real(), np.float32(0.5), 0.5),
        (Real(), np.int64(3), 3.0),
        (Real(), Fraction(1, 4), 0.25),
        (Real(above=0), 5e-324, 5e-324),
        (Real(at_least=0), 0, 0.0),
        (Real(at_most=1), 1, 1.0),
        (Real(above=0, at_most=1), 0.5, 0.5),
        (Real(above=0, below=1), 0.999, 0.999),
        (Integer(), -3, -3),
        (Integer(), np.int32(7), 7),
        (Integer(at_least=1), 1, 1),
        (Integer(at_most=5), 5, 5),
        (Integer(), 10**30, 10**30),
        (Choice(("adam", "sgd")), "sgd", "sgd"),
        (Flag(), True, True),
        (Flag(), False, False),
        (ListOf(Integer()), [3, 1], [3, 1]),
        (ListOf(Integer()), (1,), [1]),
        (ListOf(Integer()), range(3), [0, 1, 2]),
        (ListOf(Real()), [1, 2.5], [1.0, 2.5]),
        (ListOf(Choice("ab")), ["b"], ["b"]),
        (ListOf(Choice("abc"), including=("a", "b")), ["c", "b", "a"], ["c", "b", "a"]),
        (ListOf(Real(), including=(8,)), [4, 8], [4.0, 8.0]),
        (ListOf(Integer(), at_least=3), [3, 1, 2], [3, 1, 2]),
        (ListOf(Real(), without=(0.1,)), [0.3], [0.3]),
    ],
)
def test_accepted_values_come_back(rule, value, returned):
    result = rule("n", value)
    assert result == returned
    assert type(result) is type(returned)


@pytest.mark.parametrize(
    ("rule", "value", "error"),
    [
        (Real(), True, TypeError),
        (Real(), "1", TypeError),
        (Real(), None, TypeError),
        (Real(), 1j, TypeError),
        (Real(), [1.0], TypeError),
        (Real(), float("nan"), ValueError),
        (Real(), float("inf"), ValueError),
        (Real(), -float("inf"), ValueError),
        (Real(above=0), 0, ValueError),
        (Real(above=0), -1, ValueError),
        (Real(at_least=0), -5e-324, ValueError),
        (Real(at_most=1), 1.0000001, ValueError),
        (Real(above=0, at_most=1), 2, ValueError),
        (Real(above=0, below=1), 1, ValueError),
        (Integer(), 3.0, TypeError),
        (Integer(), np.float64(3), TypeError),
        (Integer(), True, TypeError),
        (Integer(), "3", TypeError),
        (Integer(), None, TypeError),
        (Integer(at_least=1), 0, ValueError),
        (Integer(at_most=5), 6, ValueError),
        (Choice(("adam", "sgd")), "Adam", ValueError),
        (Choice(("adam", "sgd")), "ad", ValueError),
        (Choice(("adam", "sgd")), 1, TypeError),
        (Flag(), 1, TypeError),
        (Flag(), "true", TypeError),
        (Flag(), None, TypeError),
        (ListOf(Integer()), [], ValueError),
        (ListOf(Integer()), [1, 2, 1], ValueError),
        (ListOf(Real()), [1, 1.0], ValueError),
        (ListOf(Integer()), 3, TypeError),
        (ListOf(Integer()), {1, 2}, TypeError),
        (ListOf(Choice("ab")), "ab", TypeError),
        (ListOf(Integer()), [1, 2.5], TypeError),
        (ListOf(Integer(at_least=0)), [1, -2], ValueError),
        (ListOf(Choice("abc"), including=("a", "b")), ["a", "c"], ValueError),
        (ListOf(Integer(), at_least=3), [1, 2], ValueError),
        (ListOf(Real(), without=(0.1,)), [0.3, 0.1], ValueError),
    ],
)
def test_refused_values(rule, value, error):
    with pytest.raises(error) as caught:
        rule("n_networks", value)
    sentence = str(caught.value)
    assert sentence.startswith("n_networks")
    assert sentence.endswith(".")
    assert "must be" in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("rule", "value", "sentence"),
    [
        (
            Real(above=0, at_most=1),
            2,
            "share must be a finite number above 0 and at most 1, got 2 (int).",
        ),
        (Real(at_least=0.5), 0.25, "share must be a finite number at least 0.5, got 0.25 (float)."),
        (Integer(at_least=1), 0, "share must be a whole number at least 1, got 0 (int)."),
        (Integer(), 2.5, "share must be a whole number, got 2.5 (float)."),
        (Choice(("sgd", "adam")), "x", "share must be one of adam, sgd, got 'x' (str)."),
        (Flag(), 1, "share must be true or false, got 1 (int)."),
        (
            ListOf(Integer(at_least=0)),
            [],
            "share must be a non-empty list without repetitions, each item a whole number at least 0, got [] (list).",
        ),
        (
            ListOf(Integer(at_least=1), including=(5, 10, 50), without=(7,), at_least=4),
            [5],
            "share must be a list of at least 4 items, without repetitions, each item a whole number at least 1, "
            "with 5, 10 and 50 among them, without 7, got [5] (list).",
        ),
        (
            ListOf(Choice("ab"), including="a"),
            ["b"],
            "share must be a non-empty list without repetitions, "
            "each item one of a, b, with a among them, got ['b'] (list).",
        ),
        (ListOf(Integer(at_least=0)), [4, -1], "share[1] must be a whole number at least 0, got -1 (int)."),
    ],
)
def test_sentence_names_argument_value_and_what_is_allowed(rule, value, sentence):
    with pytest.raises((TypeError, ValueError)) as caught:
        rule("share", value)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("rule", [Real(above=0), Integer(), Flag(), ListOf(Real())])
def test_number_that_yaml_read_as_text_gets_a_hint(rule):
    with pytest.raises(TypeError, match=r"came as text: in YAML write it as a plain number, e\.g\. 0\.001\.$"):
        rule("learning_rate", "1e-3")


@pytest.mark.parametrize(("rule", "text"), [(Integer(), "1"), (Integer(), "1e3"), (Real(), "1e-7"), (Real(), "2E22")])
def test_hint_for_a_number_that_came_as_text_is_accepted_by_the_rule(rule, text):
    with pytest.raises(TypeError) as caught:
        rule("n", text)
    hint = yaml.safe_load(str(caught.value).partition("e.g. ")[2].removesuffix("."))
    assert rule("n", hint) == float(text)


@pytest.mark.parametrize("text", ["fast", "nan", "-inf"])
def test_other_text_gets_no_hint(text):
    with pytest.raises(TypeError) as caught:
        Real()("learning_rate", text)
    assert "YAML" not in str(caught.value)


@settings(deadline=None)
@given(st.integers(), st.integers(), st.integers())
def test_integer_bounds_are_those_of_arithmetic(value, low, high):
    rule = Integer(at_least=low, at_most=high)
    if low <= value <= high:
        assert rule("n", value) == value
    else:
        with pytest.raises(ValueError, match="n must be"):
            rule("n", value)


@settings(deadline=None)
@given(st.floats(), st.floats(-10, 10))
def test_real_bounds_are_those_of_arithmetic(value, low):
    rule = Real(above=low)
    if low < value < float("inf"):
        assert rule("n", value) == value
    else:
        with pytest.raises(ValueError, match="n must be"):
            rule("n", value)


@pytest.mark.parametrize("value", [torch.tensor(3.5), np.array(3.5)])
def test_fractional_arrays_are_no_whole_numbers(value):
    with pytest.raises(TypeError, match="n must be"):
        Integer()("n", value)


def test_too_large_for_a_float_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match="n must be"):
        Real()("n", 10**400)


def test_real_refuses_a_numpy_truth_value():
    with pytest.raises(TypeError, match="n must be"):
        Real()("n", np.True_)


def test_bounds_are_written_in_full():
    assert "1234567" in Integer(at_most=1234567).allowed


RULES = {"n_networks": Integer(at_least=1), "learning_rate": Real(above=0)}
GOOD = {"n_networks": 3, "learning_rate": 0.01, "other": ANY}


def test_parameters_that_obey_their_rules_come_back():
    cells = ["", "import torch\nfoo = 1", "# Parameters\nn_networks = 3\n"]
    run = check_namespace(GOOD, cells, RULES)
    assert (run.n_networks, run.learning_rate) == (3, 0.01)
    assert {**run, "seeds": [0, 1]} == {"n_networks": 3, "learning_rate": 0.01, "seeds": [0, 1]}
    assert len(run) == 2
    assert repr(run) == "Parameters(n_networks=3, learning_rate=0.01)"


def test_parameters_are_what_their_rules_return():
    rules = {"learning_rate": Real(), "shares": ListOf(Real())}
    assert repr(check_namespace({"learning_rate": 1, "shares": (1, 2)}, [], rules)["shares"]) == "[1.0, 2.0]"


def test_unknown_parameter_is_answered_with_the_known_ones():
    run = check_namespace(GOOD, [], RULES)
    with pytest.raises(AttributeError, match=r"^epochs is not a parameter of this notebook; it has n_networks, learn"):
        run.epochs  # noqa: B018
    assert copy.copy(run) == run


def test_parameter_named_like_a_method_is_refused():
    with pytest.raises(ValueError, match=r"^items cannot be the name of a parameter"):
        check_namespace({"items": 3}, [], {"items": Integer()})


def test_injected_unknown_name_is_refused():
    cells = ["", "# Parameters\nn_networks = 3\nn_network = 5\n"]
    with pytest.raises(ValueError, match="n_network is not a parameter") as caught:
        check_namespace({**GOOD, "n_network": 5}, cells, RULES)
    assert "n_networks, learning_rate" in str(caught.value)


def test_unknown_name_in_an_ordinary_cell_is_not_a_parameter():
    check_namespace({**GOOD, "n_network": 5}, ["n_network = 5\n# Parameters"], RULES)
    check_namespace(GOOD, ["", "# Parameters of my plot\n%matplotlib inline\ncolour = 'red'"], RULES)


def test_missing_parameter_is_refused():
    with pytest.raises(ValueError, match=r"learning_rate is missing; it must be a finite number above 0\."):
        check_namespace({"n_networks": 3}, [], RULES)


@pytest.mark.parametrize(
    ("change", "error", "word"),
    [
        ({"n_networks": 2.0}, TypeError, "n_networks must be"),
        ({"n_networks": 0}, ValueError, "n_networks must be"),
        ({"learning_rate": "1e-3"}, TypeError, "learning_rate must be .* YAML"),
    ],
)
def test_parameter_that_breaks_its_rule_is_refused(change, error, word):
    with pytest.raises(error, match=word):
        check_namespace(GOOD | change, [], RULES)


def test_check_parameters_needs_a_notebook():
    with pytest.raises(RuntimeError, match="notebook"):
        check_parameters(n_networks=Integer())


def test_check_parameters_reads_the_running_notebook(monkeypatch):
    namespace = {"n_networks": 3, "In": ["", "# Parameters\nn_networks = 3"]}
    import IPython.core.getipython

    module = sys.modules["IPython.core.getipython"]
    assert module is IPython.core.getipython
    monkeypatch.setattr(module, "get_ipython", lambda: SimpleNamespace(user_ns=namespace))
    assert check_parameters(n_networks=Integer()).n_networks == 3
    with pytest.raises(ValueError, match="n_networks must be"):
        check_parameters(n_networks=Integer(at_least=4))
    namespace["In"][1] += "\nn_epochs = 3"
    with pytest.raises(ValueError, match="n_epochs is not a parameter"):
        check_parameters(n_networks=Integer())
