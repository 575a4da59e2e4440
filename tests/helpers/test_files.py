"""YAML is read as PyYAML reads it, except that nothing may be said twice."""

import pytest

from helpers.files import read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1\nb: [x, {c: null}]\n", {"a": 1, "b": ["x", {"c": None}]}),
        ("- {1: one, '1': text}\n", [{1: "one", "1": "text"}]),
        ("base: &base {a: 1, b: 2}\nother: {<<: *base, b: 3}\n", {"base": {"a": 1, "b": 2}, "other": {"a": 1, "b": 3}}),
        ("", None),
    ],
)
def test_yaml_is_read(tmp_path, text, value):
    (tmp_path / "some.yaml").write_text(text)
    assert read_yaml(tmp_path / "some.yaml") == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", "a occurs twice .*line 3"),
        ("- x: {c: 1, c: 1}\n", "c occurs twice .*line 1"),
        ("a: [1\n", "some.yaml must be YAML, but cannot be read: "),
        ("? [1, 2]\n: 3\n", "unhashable"),
    ],
)
def test_what_is_no_plain_yaml_is_refused_in_a_sentence(tmp_path, text, words):
    (tmp_path / "some.yaml").write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        read_yaml(tmp_path / "some.yaml")
    assert "\n" not in str(caught.value)
