"""Request ids and error bodies."""

from __future__ import annotations

import json

import pytest

from serving.errors import BadRequestError, UnavailableError
from serving.exchange import Exchange
from serving.served_model import ModelInfo

INFO = ModelInfo("m", "größe\r\nX: 1", "fp32", "onnxruntime", "cpu", True, "/", {})


def begin(request_id: str | None = None) -> Exchange:
    named = [] if request_id is None else [(b"x-request-id", request_id.encode("latin-1"))]
    return Exchange.begin({"path": "/predict", "headers": named}, route="/predict")


def with_headers(*headers: tuple[bytes, bytes]) -> Exchange:
    return Exchange.begin({"path": "/predict", "headers": list(headers)}, route="/predict")


def test_exchange_takes_the_first_of_headers_that_are_alike():
    exchange = with_headers(
        (b"accept", b"text/html"), (b"x-routing-key", b"a"), (b"accept", b"*/*"),
        (b"x-routing-key", b"a"),
    )  # fmt: skip
    assert exchange.given == {"x-routing-key": "a", "accept": "text/html"}
    assert exchange.routing_key("body's") == "a"


@pytest.mark.parametrize(
    ("lines", "given"),
    [
        ([b"gzip"], "gzip"),
        ([b"gzip", b"br"], "gzip, br"),
        ([b"identity", b"gzip"], "identity, gzip"),
        ([b"gzip", b""], "gzip"),
    ],
)
def test_exchange_takes_all_lines_of_a_content_encoding_as_one(lines, given):
    exchange = with_headers(*((b"content-encoding", line) for line in lines), (b"accept", b"*/*"))
    assert exchange.given["content-encoding"] == given


def test_a_header_that_chooses_a_version_and_comes_with_two_values_is_refused():
    versions = with_headers((b"x-model-version", b"1"), (b"x-model-version", b"2"))
    with pytest.raises(BadRequestError, match="x-model-version is given twice"):
        versions.named_version(None)
    keys = with_headers((b"x-routing-key", b"a"), (b"x-routing-key", b"b"))
    with pytest.raises(BadRequestError, match="x-routing-key is given twice"):
        keys.routing_key()


def naming(version: str) -> Exchange:
    headers = [(b"x-model-version", version.encode())]
    return Exchange.begin({"path": "/predict", "headers": headers}, route="/predict")


@pytest.mark.parametrize(
    ("exchange", "given", "named"),
    [
        (begin(), None, None),
        (begin(), "2", "2"),
        (naming("2"), None, "2"),
        (naming("2"), "2", "2"),
        (naming(""), "2", "2"),
        (naming(""), None, None),
    ],
)
def test_a_version_may_be_named_by_the_header_or_elsewhere(exchange, given, named):
    assert exchange.named_version(given) == named


@pytest.mark.parametrize("given", ["1", "champion"])
def test_a_request_that_names_two_versions_is_refused(given):
    with pytest.raises(
        BadRequestError, match=f"names version {given}, and X-Model-Version "
    ) as found:
        naming("2").named_version(given)
    assert found.value.field == "version"


@pytest.mark.parametrize("given", ["a", "3f2b-77_9.x:/+=@", "x" * 128])
def test_exchange_keeps_a_request_id_that_is_short_and_harmless(given):
    assert begin(given).headers()["X-Request-Id"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "a\r\nb", "größe", "<script>"])
def test_exchange_replaces_any_other_request_id(given):
    found = begin(given).headers()["X-Request-Id"]
    assert found != given
    assert len(found) == 32


def test_exchange_gives_every_request_an_id_of_its_own():
    assert begin().request_id != begin().request_id


def test_exchange_puts_nothing_into_a_header_that_does_not_belong_there():
    exchange = begin()
    exchange.choose(INFO, routed=True)
    assert exchange.headers()["X-Model-Version"] == "gr??e??X: 1"
    assert exchange.headers()["X-Variant"] == "fp32"


def test_refuse_answers_in_the_shape_of_the_surface():
    exchange = begin("abc")
    error = BadRequestError("wrong", field="text", remedy="send another")
    response = exchange.refuse(error)
    assert response.status_code == 400
    assert json.loads(response.body) == {
        "error": {
            "code": "invalid_request",
            "message": "wrong",
            "field": "text",
            "remedy": "send another",
        },
        "id": "abc",
    }
    assert response.headers["x-request-id"] == "abc"


def test_refuse_leaves_out_what_there_is_not_and_echoes_the_id_of_the_body():
    exchange = begin("abc")
    exchange.body_id = 7
    response = exchange.refuse(UnavailableError("full", code="overloaded", retry_after=3))
    document = json.loads(response.body)
    assert document == {
        "error": {"code": "overloaded", "message": "full", "remedy": "try again in 3 s"},
        "id": 7,
    }
    assert response.headers["retry-after"] == "3"
