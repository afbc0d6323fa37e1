from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle.errors import ManifestError
from bundle.fields import Fields, canonical_json, parse_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda children: st.lists(children) | st.dictionaries(st.text(max_size=5), children),
    max_leaves=20,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), VALUES))
def test_canonical_json_is_the_same_whatever_the_order_of_the_keys(value):
    backwards = dict(reversed(value.items()))

    assert canonical_json(value) == canonical_json(backwards)
    assert json.loads(canonical_json(value)) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "the key 'a' appears twice"),
        ('{"a": NaN}', "NaN is not a JSON number"),
        ('{"a": -Infinity}', "-Infinity is not a JSON number"),
        ("{", "not valid JSON"),
        (b"\xff\xfe\xfd", "not valid JSON"),
        ("[" * 200_000, "nested too deeply"),
        ("", "not valid JSON"),
    ],
)
def test_parse_json_refuses_what_is_not_strict_json(text, message):
    with pytest.raises(ManifestError, match=message):
        parse_json(text, name="manifest.json")


@pytest.mark.parametrize(
    ("read", "value", "message"),
    [
        (lambda fields: fields.text("a"), 1, "top.a must be a string, got an integer"),
        (lambda fields: fields.integer("a"), True, "top.a must be an integer, got a boolean"),
        (lambda fields: fields.integer("a"), 1.0, "top.a must be an integer, got a number"),
        (lambda fields: fields.integer("a", minimum=3), 2, "top.a must be at least 3, got 2"),
        (lambda fields: fields.number("a"), "1", "top.a must be a finite number, got a string"),
        (lambda fields: fields.number("a"), 10**400, "top.a must be a finite number"),
        (lambda fields: fields.boolean("a"), 1, "top.a must be a boolean, got an integer"),
        (lambda fields: fields.list("a"), {}, "top.a must be a list, got an object"),
        (lambda fields: fields.object("a"), [], "top.a must be an object, got a list"),
        (lambda fields: fields.texts("a"), ["x", 1], r"top.a\[1\] must be a string"),
        (lambda fields: fields.integers("a"), [1, None], r"top.a\[1\] must be an integer"),
        (lambda fields: fields.choice("a", ("x", "y")), "z", "top.a must be one of x, y, got 'z'"),
        (lambda fields: fields.nested("a").text("b"), {"b": 1}, "top.a.b must be a string"),
        (lambda fields: list(fields.nested_list("a")), [1], r"top.a\[0\] must be an object"),
        (lambda fields: fields.optional("a", fields.text), 1, "top.a must be a string"),
        (lambda fields: fields.text("b"), 1, "top.b is missing"),
    ],
)
def test_fields_name_the_field_that_is_wrong(read, value, message):
    with pytest.raises(ManifestError, match=message) as found:
        read(Fields({"a": value}, "top"))

    assert found.value.field.startswith("top.")


def test_fields_refuse_what_nobody_took():
    fields = Fields({"known": 1, "unknown": 2})
    fields.integer("known")

    with pytest.raises(ManifestError, match="unknown is an unknown field"):
        fields.done()


def test_fields_refuse_a_document_that_is_no_object():
    with pytest.raises(ManifestError, match="the document must be an object, got a list"):
        Fields([])
