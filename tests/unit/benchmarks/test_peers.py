from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks.peers import compare, peer
from benchmarks.peers.peer import PEERS, NotInstalledError, Peer
from benchmarks.peers.report import BEGIN, END, draw, insert, markdown
from benchmarks.servers.loads import loads

FOLDER = Path(peer.__file__).parent
TURNS = {
    "Trainyard": [{"per_second": 100.0, "p99_ms": 5.0, "cpu_per_1000": 0.2}] * 3,
    "LitServe": [{"per_second": 25.0, "p99_ms": 50.0, "cpu_per_1000": 1.5}] * 3,
}
FIGURES = {
    "settings": {"rounds": 3, "seconds": 4.0},
    "machine": {"processor": "abacus", "cores": 2, "load_before": 0.4, "onnxruntime": "1.32.0"},
    "versions": {"LitServe": "0.2.19"},
    "loads": {"null": TURNS, "cnn": {"Trainyard": TURNS["Trainyard"]}},
    "skipped": {"TorchServe": "cannot be installed: java is not installed"},
}


@pytest.mark.parametrize("one", PEERS, ids=[one.name for one in PEERS])
def test_peer_has_requirements_an_adapter_and_bodies(one):
    assert "onnxruntime==" in (FOLDER / "requirements" / f"{one.name}.txt").read_text()
    assert (FOLDER / "adapters" / f"{one.module.rpartition('.')[2]}.py").is_file()
    for load in loads(1).values():
        if load.model != "resnet18":
            assert json.loads(one.post(load).bodies[0])


def test_peer_is_not_installed_where_a_command_is_missing():
    one = Peer(
        "fastapi", "FastAPI", "no.module", lambda load: load.plain(), needs=("no-such-command",)
    )
    skipped: dict[str, str] = {}
    assert compare.installed([one], skipped) == []
    assert skipped == {"FastAPI": "cannot be installed: no-such-command is not installed"}


def test_peer_that_cannot_be_installed_leaves_nothing_behind(tmp_path, monkeypatch):
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "none.txt").write_text("nothing\n")
    (tmp_path / ".venvs" / "none" / "bin").mkdir(parents=True)
    monkeypatch.setattr(peer, "FOLDER", tmp_path)
    one = Peer("none", "None", "no.module", lambda load: load.plain())
    with pytest.raises(NotInstalledError):
        one.install("/no/such/python")
    assert not one.python.parents[1].exists()


def test_table_shows_shares_of_ours_and_who_was_skipped():
    text = markdown(FIGURES)
    assert "| LitServe 0.2.19 | 0.25 [0.25, 0.25] · 50 · 1.50 | not run |" in text
    assert "Skipped: TorchServe: cannot be installed: java is not installed." in text


def test_table_takes_the_place_of_the_one_before(tmp_path):
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    insert("new \\1", page)
    insert("new \\1", page)
    assert page.read_text() == f"before\n{BEGIN}\n\nnew \\1\n\n{END}\nafter\n"
    page.write_text("no markers")
    with pytest.raises(ValueError, match="lacks the lines"):
        insert("new", page)


def test_picture_is_the_same_for_the_same_figures(tmp_path):
    for name in ("one.svg", "two.svg"):
        draw(FIGURES, tmp_path / name)
    first = (tmp_path / "one.svg").read_text()
    assert first == (tmp_path / "two.svg").read_text()
    assert "LitServe" in "".join(ET.fromstring(first).itertext())
