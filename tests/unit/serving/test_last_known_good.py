"""What was served last, as a file that may be missing, damaged or out of date."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from bundle.uri import Resolved
from serving.routing.last_known_good import LastKnownGood
from serving.routing.split import Split
from serving.routing.wanted import Route, Wanted
from tests.tiny_bundle import image_parts

URI = "models:/digits"


@pytest.fixture
def wanted(tmp_path):
    """Versions 1 and 2 share the traffic, 3 is held beside them."""
    sources = [
        Resolved(
            name="digits",
            version=str(n),
            path=image_parts(seed=n).write(tmp_path / str(n)).path,
            bare=False,
        )
        for n in (1, 2, 3)
    ]
    split = Split.of({1: 90.0, 2: 10.0}, champion=1)
    route = Route(name="digits", salt="digits", split=split, aliases=(("champion", "1"),))
    return Wanted(uri=URI, sources=tuple(sources), route=route)


@pytest.fixture
def store(tmp_path):
    return LastKnownGood(tmp_path / "cache", registry_uri="sqlite:///here.db")


def test_what_is_written_is_read_back(store, wanted):
    store.write(wanted)
    assert store.read(URI).wanted == wanted
    assert store.read("models:/other") is None


def test_what_the_registry_could_not_be_told_is_kept_too(store, wanted):
    withdrawn = wanted.withdrawing({"2"})
    assert withdrawn.withdrawn == {"2"}
    store.write(withdrawn)
    assert store.read(URI).wanted == withdrawn


def test_a_cache_that_was_moved_is_of_as_much_use(tmp_path, wanted):
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    for source in wanted.sources:
        source.path.rename(before / source.version)
    inside = tuple(replace(s, path=before / s.version) for s in wanted.sources)
    LastKnownGood(before, registry_uri="http://r").write(replace(wanted, sources=inside))
    before.rename(after)
    known = LastKnownGood(after, registry_uri="http://r").read(URI)
    assert [source.path for source in known.wanted.sources] == [after / n for n in "123"]


def test_each_registry_has_its_own(store, wanted, tmp_path):
    store.write(wanted)
    assert LastKnownGood(tmp_path / "cache", registry_uri="http://there").read(URI) is None


def test_touch_says_how_recent_it_is(store, wanted, tmp_path):
    store.write(wanted)
    [path] = (tmp_path / "cache" / "last-known-good").iterdir()
    os.utime(path, (1000, 1000))
    assert store.read(URI).polled_at == 1000
    store.touch(URI)
    assert store.read(URI).polled_at > 1e9


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 99}', '{"schema": 1}'])
def test_a_file_that_is_not_ours_is_as_good_as_none(store, wanted, tmp_path, content):
    store.write(wanted)
    [path] = (tmp_path / "cache" / "last-known-good").iterdir()
    path.write_text(content)
    assert store.read(URI) is None


def test_a_damaged_version_is_left_out_and_one_that_is_routed_makes_it_useless(store, wanted):
    store.write(wanted)
    (wanted.sources[2].path / "model.onnx").write_bytes(b"damaged")
    assert [s.version for s in store.read(URI).wanted.sources] == ["1", "2"]
    (wanted.sources[1].path / "model.onnx").write_bytes(b"damaged")
    assert store.read(URI) is None


def test_a_folder_that_cannot_be_written_stops_nothing(wanted, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    LastKnownGood(tmp_path / "file", registry_uri="x").write(wanted)
    assert "cannot be kept" in caplog.text


def test_another_folders_registry_of_the_same_name_has_its_own(
    store, wanted, tmp_path, monkeypatch
):
    store.write(wanted)
    monkeypatch.chdir(tmp_path)
    other = LastKnownGood(tmp_path / "cache", registry_uri="sqlite:///here.db")
    assert other.read(URI) is None
