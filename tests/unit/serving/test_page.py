"""The page at /: what is sent, how it may be kept, and what it may do."""

from __future__ import annotations

import asyncio
import re
from html.parser import HTMLParser
from urllib.parse import urljoin

import httpx
import pytest

from serving.application import Application
from serving.guard import Guard, read_keys
from serving.metrics import MetricsCollector
from serving.routes.page import HEADERS, page_endpoints

LINK = re.compile(r'(?:from|import) "\./([a-z]+\.js)"')


class Elements(HTMLParser):
    """All elements of a page, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def ask():
    keys = read_keys("", {"TRAINYARD_API_KEYS": "shop:predict:a-key-that-may-predict"})
    application = Application(
        page_endpoints(),
        lifespan=None,
        metrics=MetricsCollector(),
        guard=Guard(keys),
        extra_headers=dict,
        observe=lambda *_: None,
    )

    def ask(path: str, method: str = "GET", **headers: str) -> httpx.Response:
        async def answer():
            transport = httpx.ASGITransport(application)
            async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
                return await client.request(method, path, headers=headers)

        return asyncio.run(answer())

    return ask


def test_the_page_and_all_that_it_needs_are_there_without_a_key(ask):
    index = ask("/")
    assert index.status_code == 200
    assert index.headers["content-type"] == "text/html; charset=utf-8"
    assert index.headers["x-request-id"]
    elements = Elements(index.text).found
    wanted = {attributes["href"] for tag, attributes in elements if tag == "link"}
    wanted |= {attributes["src"] for tag, attributes in elements if tag == "script"}
    seen: set[str] = set()
    while wanted:
        path = wanted.pop()
        seen.add(path)
        answer = ask("/" + path)
        assert answer.status_code == 200, path
        assert not answer.headers["content-type"].startswith("text/html")
        wanted |= {urljoin(path, name) for name in LINK.findall(answer.text)} - seen
    assert {"page/style.css", "page/main.js", "page/metrics.js", "page/icon.svg"} <= seen


def test_nothing_is_inline_or_from_elsewhere(ask):
    elements = Elements(ask("/").text).found
    for tag, attributes in elements:
        assert "style" not in attributes, tag
        assert not [name for name in attributes if name.startswith("on")], tag
        assert tag != "style"
        for name in ("href", "src"):
            assert not re.match(r"(?:[a-z]+:|//|/)", attributes.get(name) or ""), (tag, attributes)
        assert tag != "script" or attributes["src"]
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy


@pytest.mark.parametrize("path", ["/", "/page/style.css", "/page/main.js", "/page/icon.svg"])
def test_a_file_is_sent_again_only_where_it_has_changed(ask, path):
    first = ask(path)
    assert first.headers["cache-control"] == "no-cache"
    tag = first.headers["etag"]
    assert re.fullmatch(r'"[0-9a-f]{32}"', tag)
    for held in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = ask(path, **{"If-None-Match": held})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
        assert again.headers["content-security-policy"] == first.headers["content-security-policy"]
    for held in ('"other"', tag.strip('"'), ""):
        assert ask(path, **{"If-None-Match": held}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/page/main.js"])
def test_every_file_has_the_headers_of_security(ask, path):
    answer = ask(path)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/page/main.js"])
def test_other_methods_are_405_but_head_is_answered(ask, path):
    head = ask(path, "HEAD")
    assert head.status_code == 200
    assert head.headers["content-length"] == str(len(ask(path).content))
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        refused = ask(path, method)
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/page/", "/page/nothing.js", "/page/..%2fguard.py", "/page/a/b"])
def test_what_is_no_file_of_the_page_is_404(ask, path):
    answer = ask(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
