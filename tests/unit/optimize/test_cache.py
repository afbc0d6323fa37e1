from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from optimize.cache import ContentCache
from optimize.errors import MachineError

KEY = {"kind": "pass", "input": "abc"}


class Maker:
    """Counts how often it was asked."""

    def __init__(self, content: bytes = b"graph") -> None:
        self.content = content
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return self.content, {"made": self.calls, "pair": (1, 2)}


def entries(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_work_is_done_once_when_everything_it_depends_on_is_the_same(tmp_path):
    make = Maker()
    first = ContentCache(tmp_path).get_or_make(KEY, make)
    second = ContentCache(tmp_path).get_or_make(dict(reversed(KEY.items())), make)
    assert make.calls == 1
    assert (first.found, second.found) == (False, True)
    assert (second.content, second.facts) == (first.content, first.facts)
    assert second.facts == {"made": 1, "pair": [1, 2]}


@pytest.mark.parametrize("change", [{"input": "abd"}, {"kind": "export"}, {"more": None}])
def test_work_is_done_again_when_anything_it_depends_on_differs(change, tmp_path):
    make = Maker()
    cache = ContentCache(tmp_path)
    cache.get_or_make(KEY, make)
    assert not cache.get_or_make({**KEY, **change}, make).found
    assert make.calls == 2


def test_nothing_is_kept_without_a_folder():
    make = Maker()
    cache = ContentCache(None)
    assert [cache.get_or_make(KEY, make).found for _ in range(2)] == [False, False]
    assert cache.bytes_used() == 0
    cache.shrink(0)


def test_entry_is_replaced_when_it_shall_be_made_anew(tmp_path):
    cache = ContentCache(tmp_path)
    cache.get_or_make(KEY, Maker(b"old"))
    assert cache.get_or_make(KEY, Maker(b"new"), anew=True).content == b"new"
    assert cache.get_or_make(KEY, Maker()).content == b"new"


@pytest.mark.parametrize("damage", ["cut", "flipped", "facts", "empty", "binary", "list"])
def test_damaged_entry_is_made_again(damage, tmp_path):
    cache = ContentCache(tmp_path)
    cache.get_or_make(KEY, Maker())
    (path,) = entries(tmp_path)
    content = path.read_bytes()
    path.write_bytes(
        {
            "cut": content[:-1],
            "flipped": content[:-1] + bytes([content[-1] ^ 1]),
            "facts": content.replace(b'"made": 1', b'"made": 7'),
            "empty": b"",
            "binary": b"\xff\xfe\x00\n",
            "list": b"[]\ngraph",
        }[damage]
    )
    make = Maker()
    entry = cache.get_or_make(KEY, make)
    assert (entry.found, make.calls, entry.content) == (False, 1, b"graph")
    assert cache.get_or_make(KEY, make).found


def test_entry_of_another_key_is_not_taken(tmp_path):
    cache = ContentCache(tmp_path)
    cache.get_or_make(KEY, Maker(b"one"))
    (one,) = entries(tmp_path)
    cache.get_or_make({"other": 1}, Maker(b"two"))
    (two,) = set(entries(tmp_path)) - {one}
    two.write_bytes(one.read_bytes())
    assert cache.get_or_make({"other": 1}, Maker(b"two")).content == b"two"


def test_nothing_is_kept_of_work_that_fails(tmp_path):
    def fail():
        raise ValueError("no such operator")

    cache = ContentCache(tmp_path)
    with pytest.raises(ValueError, match="no such operator"):
        cache.get_or_make(KEY, fail)
    assert entries(tmp_path) == []


def test_writers_at_once_leave_one_whole_entry(tmp_path):
    content = os.urandom(1 << 20)
    start = threading.Barrier(4)

    def write():
        def make():
            start.wait()
            return content, {}

        assert ContentCache(tmp_path).get_or_make(KEY, make).content == content

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (path,) = entries(tmp_path)
    assert ContentCache(tmp_path).get_or_make(KEY, Maker()).found
    assert path.stat().st_size == ContentCache(tmp_path).bytes_used()


def test_what_was_used_longest_ago_goes_first(tmp_path):
    cache = ContentCache(tmp_path)
    for number in range(3):
        cache.get_or_make({"number": number}, Maker(bytes(1000)))
    for path in entries(tmp_path):
        os.utime(path, (1000, 1000))
    assert cache.get_or_make({"number": 1}, Maker()).found  # used again
    cache.shrink(1500)
    found = [cache.get_or_make({"number": n}, Maker(bytes(1000))).found for n in range(3)]
    assert found == [False, True, False]


def test_leavings_of_a_killed_writer_are_removed_when_they_are_old(tmp_path):
    cache = ContentCache(tmp_path)
    cache.get_or_make(KEY, Maker())
    (entry,) = entries(tmp_path)
    old, young = entry.with_name(".old.part"), entry.with_name(".young.part")
    for path in (old, young):
        path.touch()
    os.utime(old, (time.time() - 1e6,) * 2)
    cache.shrink(1e9)
    assert set(entries(tmp_path)) == {entry, young}


def test_error_names_the_field_when_the_folder_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match="cannot be written") as caught:
        ContentCache(tmp_path / "file").get_or_make(KEY, Maker())
    assert caught.value.field == "optimize.cache.folder"


def test_nothing_is_kept_of_what_is_not_worth_it(tmp_path):
    cache = ContentCache(tmp_path)
    assert cache.get_or_make(KEY, Maker(), worth_keeping=lambda _: False).content == b"graph"
    assert entries(tmp_path) == []


def test_folder_that_is_only_read_is_not_shrunk(tmp_path, monkeypatch):
    cache = ContentCache(tmp_path)
    cache.get_or_make(KEY, Maker())

    def refuse(*_, **__):
        raise PermissionError

    monkeypatch.setattr(Path, "unlink", refuse)
    cache.shrink(0)
    assert cache.get_or_make(KEY, Maker()).found
