from __future__ import annotations

import errno

import pytest

from bundle import exchange as module
from bundle.errors import BundleError
from bundle.exchange import exchange


def folders(tmp_path):
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "content").write_text(name)
    return tmp_path / "new", tmp_path / "old"


def content(folder):
    return (folder / "content").read_text()


@pytest.mark.parametrize("system", ["with renameat2", "without"])
def test_exchange_swaps_the_two_folders(system, tmp_path, monkeypatch):
    new, old = folders(tmp_path)
    if system == "without":
        monkeypatch.setattr(module, "_renameat2", lambda new, old: errno.ENOSYS)

    exchange(new, old)

    assert (content(old), content(new)) == ("new", "old")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]


def test_this_system_swaps_in_one_step(tmp_path):
    new, old = folders(tmp_path)

    assert module._renameat2(new, old) == 0
    assert content(old) == "new"


@pytest.mark.parametrize("system", ["with renameat2", "without"])
def test_exchange_names_the_folder_when_it_is_gone(system, tmp_path, monkeypatch):
    new, old = folders(tmp_path)
    old.rename(tmp_path / "elsewhere")
    if system == "without":
        monkeypatch.setattr(module, "_renameat2", lambda new, old: errno.ENOSYS)

    with pytest.raises(BundleError, match="old cannot be replaced"):
        exchange(new, old)

    assert content(new) == "new"


def test_exchange_puts_the_old_folder_back_when_the_new_one_is_gone(tmp_path, monkeypatch):
    new, old = folders(tmp_path)
    new.rename(tmp_path / "elsewhere")
    monkeypatch.setattr(module, "_renameat2", lambda new, old: errno.ENOSYS)

    with pytest.raises(BundleError, match="cannot be replaced"):
        exchange(new, old)

    assert content(old) == "old"
