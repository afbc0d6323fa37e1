"""JSON bodies: what is taken from them, and how they are refused."""

from __future__ import annotations

import base64
import json
import tracemalloc

import pytest

from serving.codec import quotes
from serving.codec.depth import MAX_DEPTH, check_depth, depth
from serving.codec.json import dump, parse_object, read_batch, read_single
from serving.codec.request import Options, read_identity, read_options
from serving.errors import BadRequestError, TooLargeError

PNG = base64.b64encode(b"picture").decode()


def single(**document):
    return read_single(document, Options()).samples[0]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "empty"),
        (b"{", "not JSON"),
        (b"[1]", "must be a JSON object, got a list"),
        (b"3", "got a number"),
        (b"null", "got null"),
        (b'"text"', "got a string"),
        (b'{"x": NaN}', "not JSON"),
        (b'{"x": Infinity}', "not JSON"),
        (b'{"x": 1e999}', "not JSON"),
        (b'{"text": "\xff"}', "not JSON"),
        (b'{"text": "\\ud800"}', "not JSON"),
        (b'{"x": 1}{', "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"x": ' + b"[" * 250_000, "nested more than"),
        (b'{"x": ' + b"[" * 250_000 + b"]" * 250_000 + b"}", "nested more than"),
    ],
)
def test_parse_object_refuses_what_is_no_json_object(body, message):
    with pytest.raises(BadRequestError, match=message):
        parse_object(body, example="{}")


@pytest.mark.parametrize("body", [b"", b"[1]"])
def test_parse_object_shows_what_the_route_takes(body):
    with pytest.raises(BadRequestError) as caught:
        parse_object(body, example='{"version": …}')
    assert caught.value.remedy == 'send {"version": …}'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"1", 0),
        (b'{"a": [1, [2]]}', 3),
        (b'"[[[["', 0),
        (rb'"\"[[" ', 0),
        (rb'["\\", [1]]', 2),
        (b'["]]", [[1]]]', 3),
        (b'"never closed [[', 0),
    ],
)
def test_depth_counts_brackets_outside_of_strings(body, expected):
    assert depth(body) == expected


DOCUMENT = json.dumps(
    {"a": [1, {'b": [': '"]]', "c": [[], "\\", {}]}, "]"], '[\\"': {"d": [[[1]]]}}
).encode()


@pytest.mark.parametrize("block", [1, 2, 7, 1000])
def test_depth_is_the_same_in_blocks_of_any_size(monkeypatch, block):
    monkeypatch.setattr(quotes, "BLOCK_BYTES", block)
    assert depth(DOCUMENT) == 5


@pytest.mark.parametrize("body", [b"[" * 4_000_000, b'"' + b"\\" * 4_000_000, b'[""]' * 1_000_000])
def test_depth_takes_no_more_than_some_copies_of_the_body(body):
    tracemalloc.start()
    depth(body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * len(body)


def test_check_depth_takes_brackets_in_a_text_however_many():
    check_depth(b'{"text": "' + b"[" * 1000 + b'"}')


def test_check_depth_takes_its_maximum_and_nothing_deeper():
    check_depth(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    with pytest.raises(BadRequestError):
        check_depth(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))


def test_check_depth_is_not_misled_by_closing_brackets_in_strings():
    with pytest.raises(BadRequestError):
        check_depth(b'["]]]]]]]]",' * (MAX_DEPTH + 1) + b"1" + b"]" * (MAX_DEPTH + 1))


def test_read_single_takes_each_kind_of_sample():
    assert single(image=PNG).value == b"picture"
    assert single(image=f"data:image/png;base64,{PNG}").value == b"picture"
    assert single(text="Grüße 👍").value == "Grüße 👍"
    assert single(inputs={"x": [1]}).value == {"x": [1]}
    assert single(text="x", image=None).field == "text"


@pytest.mark.parametrize(
    ("document", "code", "field"),
    [
        ({}, "missing_field", None),
        ({"text": None}, "missing_field", None),
        ({"text": "a", "image": PNG}, "invalid_request", "text"),
        ({"text": 3}, "invalid_field", "text"),
        ({"image": 3}, "invalid_field", "image"),
        ({"image": "no base64!"}, "invalid_field", "image"),
        ({"image": PNG[:-1]}, "invalid_field", "image"),
        ({"image": f"{PNG[:4]}\n{PNG[4:]}"}, "invalid_field", "image"),
        ({"image": "data:text/plain;base64,AAAA"}, "invalid_field", "image"),
        ({"image": "ünïcode"}, "invalid_field", "image"),
        ({"inputs": [1]}, "invalid_field", "inputs"),
        ({"text": "a", "texts": 1}, "unknown_field", "texts"),
        ({"text": "a", "x" * 500: 1}, "unknown_field", "x" * 63 + "…"),
        ({"instances": []}, "unknown_field", "instances"),
    ],
)
def test_read_single_names_the_field_that_is_wrong(document, code, field):
    with pytest.raises(BadRequestError) as caught:
        read_single(document, Options())
    assert (caught.value.code, caught.value.field) == (code, field)
    assert caught.value.remedy


def test_an_unknown_field_is_answered_with_the_known_ones():
    with pytest.raises(BadRequestError) as caught:
        single(text="a", txt="b")
    assert "image, text, inputs, model" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "instances"),
        ({"instances": []}, "instances"),
        ({"instances": {}}, "instances"),
        ({"instances": [{"text": "a"}, 3]}, "instances[1]"),
        ({"instances": [{"text": "a"}, {}]}, "instances[1]"),
        ({"instances": [{"text": "a"}, {"text": 1}]}, "instances[1].text"),
        ({"instances": [{"text": "a", "model": "m"}]}, "instances[0].model"),
        ({"instances": [{"text": "a"}], "text": "b"}, "text"),
    ],
)
def test_read_batch_names_the_instance_that_is_wrong(document, field):
    with pytest.raises(BadRequestError) as caught:
        read_batch(document, Options(), maximum=8)
    assert caught.value.field == field
    assert caught.value.remedy


def test_read_batch_refuses_more_instances_than_the_limit():
    with pytest.raises(TooLargeError):
        read_batch({"instances": [{"text": "a"}] * 9}, Options(), maximum=8)


def test_read_options_takes_what_the_surface_lists():
    options = read_options(
        {"model": "m", "version": 3, "timeout_ms": 12.5, "priority": 2, "key": "user"}
    )
    assert options == Options(model="m", version="3", timeout_ms=12.5, priority=2, key="user")
    assert read_options({"model": None}) == Options()


def test_read_options_reads_numbers_from_the_texts_of_a_form():
    options = read_options({"timeout_ms": "50", "priority": "7", "version": "2"}, texts=True)
    assert options == Options(timeout_ms=50.0, priority=7, version="2")


@pytest.mark.parametrize("text", ["1_0", "\u0661"])
@pytest.mark.parametrize("name", ["timeout_ms", "priority"])
def test_numbers_of_a_form_are_not_written_as_only_python_does(name, text):
    with pytest.raises(BadRequestError) as found:
        read_options({name: text}, texts=True)
    assert found.value.field == name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", ""),
        ("model", 3),
        ("model", "m" * 300),
        ("version", True),
        ("version", 1.5),
        ("timeout_ms", 0),
        ("timeout_ms", -1),
        ("timeout_ms", "1"),
        ("timeout_ms", True),
        ("timeout_ms", 1e300),
        ("priority", 0),
        ("priority", 1.5),
        ("priority", 10**30),
        ("key", []),
    ],
)
def test_read_options_names_the_option_that_is_wrong(name, value):
    with pytest.raises(BadRequestError) as caught:
        read_options({name: value})
    assert caught.value.field == name
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("timeout_ms", 1e12, "over 0 and under 1e+12, not 1000000000000.0"),
        ("timeout_ms", False, "not false"),
        ("priority", {"a": 1}, "from 1 (first) to 1000, not an object"),
        ("key", "x" * 1000, 'of 1 to 256 characters, not "xxx'),
    ],
)
def test_read_options_names_the_bounds_and_the_value_in_short(name, value, message):
    with pytest.raises(BadRequestError) as caught:
        read_options({name: value})
    assert message in str(caught.value)
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize(
    ("name", "value"), [("timeout_ms", "soon"), ("timeout_ms", "nan"), ("priority", "1.5")]
)
def test_read_options_refuses_texts_that_are_no_numbers(name, value):
    with pytest.raises(BadRequestError) as caught:
        read_options({name: value}, texts=True)
    assert caught.value.field == name


def test_read_identity_takes_strings_and_integers():
    assert read_identity({"id": "a"}) == "a"
    assert read_identity({"id": 7}) == 7
    assert read_identity({}) is None
    with pytest.raises(BadRequestError):
        read_identity({"id": [1]})


def test_dump_keeps_every_bit_of_a_number():
    values = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0]
    assert parse_object(dump({"y": values}), example="{}")["y"] == values
