"""What a request line asks for."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.target import LONGEST, read_target


@pytest.mark.parametrize(
    ("url", "target"),
    [
        (b"/predict", ("/predict", b"/predict", b"")),
        (b"/gr%C3%B6%C3%9Fe?a=1&b=%20", ("/größe", b"/gr%C3%B6%C3%9Fe", b"a=1&b=%20")),
        (b"/a?b?c#d", ("/a", b"/a", b"b?c")),
        (b"http://host:1/a?b", ("/a", b"/a", b"b")),
    ],
)
def test_target_is_path_and_query(url, target):
    assert read_target(url) == target
    assert read_target(url) == target  # remembered


@pytest.mark.parametrize("url", [b"", b"no path", b"http://"])
def test_target_without_a_path_is_refused(url):
    with pytest.raises((httptools.HttpParserError, AttributeError)):
        read_target(url)


@given(st.integers(LONGEST - 2, LONGEST + 2))
def test_target_of_any_length_is_read(length):
    url = b"/" + b"x" * (length - 1)
    assert read_target(url).raw_path == url
