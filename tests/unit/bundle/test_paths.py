from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle.errors import UnsafePathError
from bundle.paths import check_relative_name

UNSAFE = [
    "",
    "/etc/passwd",
    "../secret",
    "a/../../secret",
    "..",
    ".",
    "a/./b",
    "a//b",
    "a/",
    "a\\b",
    "..\\secret",
    "C:/windows",
    "c:x",
    "a\0b",
    "a\nb",
    "manifest.json",
    "x" * 256,
    "/".join(["x"] * 1000),
]


@pytest.mark.parametrize("name", UNSAFE)
def test_name_is_refused_when_it_could_leave_the_bundle(name):
    with pytest.raises(UnsafePathError):
        check_relative_name(name)


@pytest.mark.parametrize("name", ["model.onnx", "a/b/c.bin", ".hidden", "a..b", "Größe.txt", "…"])
def test_name_is_accepted_when_it_is_plain(name):
    assert check_relative_name(name) == name


@given(st.text(alphabet="ab./\\:C~ \0", max_size=12))
def test_accepted_names_stay_inside_on_every_system(name):
    try:
        check_relative_name(name)
    except UnsafePathError:
        return
    assert Path("/root/bundle", name).resolve().is_relative_to("/root/bundle/")
    for flavour in (PurePosixPath, PureWindowsPath):
        path = flavour(name)
        assert not path.is_absolute()
        assert not path.drive
        assert ".." not in path.parts
