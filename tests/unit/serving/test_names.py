"""Fields that a JSON body gives twice."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.codec import names, quotes
from serving.codec.json import parse_object
from serving.codec.names import check_names
from serving.errors import BadRequestError

NAMES = st.text(alphabet='a":\\[{', max_size=3)
VALUES = st.recursive(
    st.none() | st.integers() | NAMES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(st.tuples(NAMES, inner), max_size=3).map(tuple)
    ),
    max_leaves=12,
)
DOCUMENTS = st.lists(st.tuples(NAMES, VALUES), max_size=4).map(tuple)
"""JSON, of which objects are tuples of pairs: what `dict` would not let be given twice."""


def written(value) -> str:
    if isinstance(value, tuple):
        return (
            "{" + ", ".join(f"{json.dumps(name)}: {written(inner)}" for name, inner in value) + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return json.dumps(value)


def has_twins(value) -> bool:
    if isinstance(value, tuple):
        found = [name for name, _ in value]
        return len(set(found)) < len(found) or any(has_twins(inner) for _, inner in value)
    return isinstance(value, list) and any(map(has_twins, value))


@given(DOCUMENTS)
def test_a_body_is_refused_exactly_if_one_of_its_objects_has_a_field_twice(document):
    body = written(document).encode()
    if has_twins(document):
        with pytest.raises(BadRequestError, match="is given twice"):
            parse_object(body, example="{}")
    else:
        assert parse_object(body, example="{}") == json.loads(body)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"version": 2, "version": 3}', "version"),
        (rb'{"version": 2, "versio\u006e": 2}', "version"),
        (b'{"key": 1, "inputs": {"key": [{}]}, "key" : 2}', "key"),
        (rb'{"a": "\\", "key": "\"", "key": 2}', "key"),
        (b'{"shares": {"1": 10, "2": 90, "1": 10}}', "shares.1"),
        (b'{"a": [0, {"b": 1, "b": null}]}', "a[1].b"),
        (b'{"a": 1' + b"0" * 300 + b', "a": 1' + b"0" * 5000 + b"}", "a"),
    ],
)
def test_a_field_that_is_given_twice_is_named(body, field):
    with pytest.raises(BadRequestError) as caught:
        check_names(body, {})
    assert caught.value.field == field


@pytest.mark.parametrize("block", [1, 2, 7, 1000])
def test_what_is_given_twice_is_found_in_blocks_of_any_size(monkeypatch, block):
    monkeypatch.setattr(quotes, "BLOCK_BYTES", block)
    body = rb'{"a:": ":\":", "b": [":", {"c": "\\"}], "c": 1'
    check_names(body + b"}", json.loads(body + b"}"))
    with pytest.raises(BadRequestError, match="c is given twice"):
        check_names(body + b', "c": 2}', {"a:": "", "b": [], "c": 2})


def test_texts_with_colons_are_not_parsed_again(monkeypatch):
    monkeypatch.setattr(names, "json", None)
    body = rb'{"instances": [{"text": "a: b: \"c\": d"}, {"text": "::"}], "key": "x:y"}'
    parse_object(body, example="{}")


def test_numbers_are_not_kept_while_twins_are_looked_for():
    body = b'{"x": [' + b"1.5, " * 500_000 + b'0], "x": 1}'
    tracemalloc.start()
    with pytest.raises(BadRequestError):
        check_names(body, {"x": 1})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * len(body)
