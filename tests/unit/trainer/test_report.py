"""The report of run folders that are whole, half, damaged or hostile."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from bundle.errors import NotFoundError
from trainer.errors import ConfigError, TrainerError
from trainer.events import record
from trainer.metrics.predictions import Predictions
from trainer.report.command import main
from trainer.report.leave import leave_report, write_report
from trainer.run_folder import RunFolder, is_claimed

SECTIONS = {
    "outcome", "metrics", "curves", "confusion", "classes", "calibration", "throughput", "events",
    "checkpoints", "lineage", "environment", "config",
}  # fmt: skip
VOID = {"meta", "link", "br"}
HOSTILE = "</td></table><script>alert('x')</script><img src=http://example.com/x>"


class Page(HTMLParser):
    """What is on a page, and whether its tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).replace("\N{NO-BREAK SPACE}", " ").split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def _page(folder) -> Page:
    return Page(write_report(folder, folder / "page.html").read_text(encoding="utf-8"))


def _predictions(labels=("cat", "dog", "cow"), count=90) -> Predictions:
    rng = np.random.default_rng(1)
    label = np.arange(count, dtype=np.int32) % len(labels)
    predicted = np.where(rng.random(count) < 0.7, label, 0).astype(np.int32)
    return Predictions(
        index=np.arange(count),
        label=label,
        predicted=predicted,
        confidence=np.full(count, 0.9, np.float32),
        squared_error=np.full(count, 0.3, np.float32),
        labels=tuple(labels),
    )


@pytest.fixture
def made(tmp_path):
    """A finished run's folder with every file, made by hand."""
    folder = tmp_path / "run"
    files = RunFolder(folder)
    files.begin(name="made")
    files.summarize(
        status="finished",
        run_id="0" * 32,
        steps=40,
        seconds=75.0,
        metrics={"val/accuracy": 0.9, "test/accuracy": 0.8, "test/loss": 0.5},
    )
    files.write_config("seed: 3\nname: made\ntracking:\n  uri: postgresql://me:secret@host/db\n")
    rows = [f"{step},train/loss,{1 / step}\n" for step in range(10, 50, 10)]
    files.metrics.write_text("step,name,value\n" + "".join(rows) + "40,val/accuracy,0.9\n")
    speed = "10,throughput/samples,1500.0\n10,time/step,0.02\n10,time/data_share,0.1\n"
    (folder / "performance.csv").write_text("step,name,value\n" + speed)
    files.environment.write_text(
        json.dumps({"git_commit": "abc123", "git_dirty": "true", "data_fingerprint": "f00d",
                    "version.torch": "2.13.0", "host.hostname": "box"})
    )  # fmt: skip
    _predictions().write(files.predictions)
    record(folder, "restart", number=1)
    files.checkpoints.mkdir()
    (files.checkpoints / "last.ckpt").write_bytes(b"x")
    about = {"step": 40, "epoch": 2, "bytes": 1, "sha256": "5" * 64, "world_size": 2}
    (files.checkpoints / "last.ckpt.json").write_text(json.dumps(about))
    return folder


def test_report_tells_everything_of_a_finished_run(made):
    page = _page(made)
    assert {a["id"] for a in page.all("section")} == SECTIONS
    for words in ("finished", "1 min 15 s", "Started again after a crash", "abc123", "f00d", "box",
                  "5" * 64, "2.13.0", "Expected calibration error", "Brier score 0.3000",
                  "Samples (n) 90", "1500"):  # fmt: skip
        assert words in page.text
    assert not [a for a in page.all("p") if a.get("class") == "gap"]
    assert len([a for a in page.all("svg") if a.get("role") == "img"]) == 4


def test_report_is_accessible_and_needs_nothing_from_outside(made):
    page = _page(made)
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == 1
    assert len(page.all("h2")) == len(SECTIONS)
    assert len(page.all("caption")) == len(page.all("table")) > 3
    assert all(a.get("scope") for a in page.all("th"))
    assert all(len(a["aria-label"]) > 20 for a in page.all("svg") if a.get("role") == "img")
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert not page.all("script")
    for _, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    text = (made / "page.html").read_text()
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert "@import" not in text


def test_report_computes_precision_recall_and_f1(made):
    counts = _predictions().confusion()
    precision = counts[0, 0] / counts[:, 0].sum()
    assert f"cat {precision:.3f} 1.000" in _page(made).text


def test_report_escapes_whatever_a_run_may_hold(made):
    _predictions((HOSTILE, "{{ 7 * 7 }}", "$a$")).write(made / "predictions.npz")
    files = RunFolder(made)
    files.refresh()
    files.summarize(name=HOSTILE, status="failed", error=HOSTILE, metrics={f"val/{HOSTILE}": 0.5})
    files.write_config(f"name: {HOSTILE}\n")
    record(made, HOSTILE, checkpoint=HOSTILE)
    (made / "train.log").write_text(HOSTILE)
    (made / "environment.json").write_text(json.dumps({f"host.{HOSTILE}": HOSTILE}))
    page = _page(made)
    assert not page.all("script")
    assert not page.all("img")
    assert page.text.count("<script>") >= 8
    assert "{{ 7 * 7 }}" in page.text


def test_report_hides_passwords(made):
    page = _page(made)
    assert "me:***@host" in page.text
    assert "secret" not in (made / "page.html").read_text()


def test_report_says_what_is_missing_and_why(made):
    for path in made.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (made / "config.yaml").write_text("")
    text = _page(made).text
    for words in (
        "How the run went is not known: summary.json is not there",
        "There are no metrics: metrics.csv is not there",
        "There are no curves to draw: metrics.csv is not there",
        "The speed is not known: performance.csv is not there",
        "There was no test yet: predictions.npz is not there",
        "The config is not known: config.yaml is empty",
        "Code and data are not known: environment.json is not there",
        "Nothing out of the ordinary",
        "There is no checkpoint",
    ):
        assert words in text


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe{", b"[1, 2]", b"null", b'{"status": 7, "metrics": 3']
)
def test_report_is_written_when_every_file_is_damaged(made, content):
    for path in made.iterdir():
        if path.is_file():
            path.write_bytes(content)
    (made / "checkpoints" / "last.ckpt.json").write_bytes(content)
    page = _page(made)
    assert {a["id"] for a in page.all("section")} == SECTIONS
    assert "unknown" in page.text


def test_report_bears_values_of_the_wrong_kind(made):
    files = RunFolder(made)
    odd = {"metrics": {"val/accuracy": None, "val/loss": "x"}, "steps": [], "seconds": "long"}
    files.summarize(**odd, status="finished", name={}, restarts="?")
    (made / "checkpoints" / "last.ckpt.json").write_text(
        '{"step": "x", "bytes": null, "versions": [], "files": 3}'
    )
    (made / "environment.json").write_text('{"data": 3, "git_commit": null}')
    (made / "events.jsonl").write_text('{"time": 5, "kind": null}\n7\n{"half')
    (made / "metrics.csv").write_text("step,name,value\n1,train/loss,nan\n2,train/loss,inf\n3,tr")
    assert "finished" in _page(made).text


def test_report_tells_a_running_run_from_one_that_was_killed(made):
    files = RunFolder(made)
    files.summarize(status="running")
    files.predictions.unlink()
    files.metrics.unlink()
    assert "no process does" in _page(made).text
    claim = (
        "import sys, pathlib; from trainer.run_folder import RunFolder\n"
        "with RunFolder(pathlib.Path(sys.argv[1])).claimed(): print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", claim, str(made)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        owner.stdout.readline()
        assert is_claimed(made)
        assert "The run is training" in _page(made).text
        owner.stdin.close()
    assert not is_claimed(made)


def test_report_of_a_failed_run_has_its_reason_and_its_last_words(made):
    RunFolder(made).summarize(status="failed", error="DataError: the disk is gone", metrics={})
    (made / "predictions.npz").unlink()
    (made / "train.log").write_text("\n".join(f"line {n}" for n in range(1000)))
    page = _page(made)
    assert "DataError: the disk is gone" in page.text
    assert "line 999" in page.text
    assert "line 5 " not in page.text
    assert "There was no test yet" in page.text


def test_command_prints_the_page_and_takes_output(made, tmp_path, capsys):
    (made / "predictions.npz").unlink()
    main([str(made)])
    assert capsys.readouterr().out.splitlines()[-1] == str(made / "report.html")
    main([str(made), "--output", str(tmp_path / "new" / "other.html")])
    assert (tmp_path / "new" / "other.html").is_file()


def test_command_finds_the_latest_run_and_one_by_its_id(made, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (made / "predictions.npz").unlink()
    with pytest.raises(NotFoundError, match="no run"):
        main(["latest"])
    shutil.copytree(made, tmp_path / "outputs" / "day" / "time")
    main(["latest"])
    main(["0" * 32])
    assert set(capsys.readouterr().out.split()) == {"outputs/day/time/report.html"}


@pytest.mark.parametrize("wrong", ["nowhere", "empty", "file.txt", "sweep"])
def test_command_refuses_when_the_path_is_no_run(wrong, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "sweep.json").write_text("{}")
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises((NotFoundError, ConfigError)) as caught:
        main([wrong])
    assert caught.value.exit_code == 2
    assert caught.value.remedy


def test_command_says_so_when_the_page_cannot_be_written(made):
    (made / "predictions.npz").unlink()
    with pytest.raises(TrainerError, match="cannot be written") as caught:
        main([str(made), "--output", "/proc/nothing/page.html"])
    assert "--output" in caught.value.remedy


def test_run_does_not_fail_when_its_report_does(made, caplog):
    (made / "pictures").write_text("in the way")
    leave_report(made)
    assert "could not be written" in caplog.text


def test_report_is_the_same_from_the_same_files(made):
    texts = [write_report(made, made / f"{n}.html").read_text() for n in "ab"]
    assert len({re.sub(r"Made [^<]+", "", text) for text in texts}) == 1
