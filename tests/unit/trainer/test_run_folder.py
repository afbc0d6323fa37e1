"""RunFolder: what is said of a run outlives the disk that is full."""

from __future__ import annotations

import errno
import json

import pytest

from trainer import run_folder
from trainer.errors import ConfigError
from trainer.run_folder import RunFolder


def full(path, value):
    """`write_json` on a full disk."""
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


def test_status_is_changed_in_place_when_the_disk_has_no_room_for_another_file(
    tmp_path, monkeypatch
):
    files = RunFolder(tmp_path)
    files.begin(name="a run with a long name")
    monkeypatch.setattr(run_folder, "write_json", full)
    files.summarize(status="failed", name="r")
    found = json.loads(files.summary_file.read_text())
    assert (found["status"], found["name"]) == ("failed", "r")
    assert RunFolder(tmp_path).earlier == found


def test_status_that_can_be_written_nowhere_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "write_json", full)
    with pytest.raises(OSError, match=r"summary\.json"):
        RunFolder(tmp_path).begin(name="r")


@pytest.mark.parametrize("content", ["a: [1", "a: ${b", "\x00", "a: \ud800"])
def test_damaged_config_is_named(tmp_path, content):
    files = RunFolder(tmp_path)
    files.config.write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError, match=r"config\.yaml: cannot be read") as caught:
        files.earlier_config()
    assert caught.value.remedy


def test_summary_may_name_a_file_whose_name_is_no_unicode(tmp_path):
    files = RunFolder(tmp_path)
    files.begin(name="r")
    files.summarize(status="failed", error="a/\udcff.png")
    assert RunFolder(tmp_path).earlier["error"] == "a/\udcff.png"
