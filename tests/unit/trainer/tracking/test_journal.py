from __future__ import annotations

import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.replay import main
from trainer.tracking.journal import Journal, known_run_id, open_journal, unended_run


@pytest.fixture
def journal(tmp_path):
    found = open_journal(tmp_path, run_id=None, experiment="e", name="r", tags={})
    yield found
    found.close()


def metrics(journal: Journal, count: int) -> None:
    for step in range(count):
        journal.append("metrics", metrics={"loss": 1 / (step + 1)}, step=step)


def test_journal_gives_back_in_order_what_was_not_sent(journal):
    metrics(journal, 5)
    first = journal.pending(3)
    assert [entry.kind for entry in first] == ["run", "metrics", "metrics"]
    journal.mark_sent(first[-1].end)
    assert [entry.fields["step"] for entry in journal.pending()] == [2, 3, 4]
    journal.mark_sent(journal.pending()[-1].end)
    assert not journal.is_pending
    assert journal.pending() == []


def test_journal_knows_everything_again_when_it_is_opened_again(journal, tmp_path):
    metrics(journal, 3)
    journal.identify("abc", {"old": 7})
    journal.mark_refused(journal.pending()[1], "no")
    again = open_journal(tmp_path, run_id="abc")
    assert (again.key, again.run_id, again.known) == (journal.key, "abc", {"old": 7})
    assert (again.steps, again.refused) == ({"loss": 2}, 1)
    assert again.pending() == journal.pending()
    assert known_run_id(tmp_path, journal.key) == "abc"
    again.close()


@given(cut=st.integers(1, 400))
def test_journal_loses_at_most_one_line_when_the_end_of_the_file_is_cut(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("cut")
    journal = open_journal(folder, run_id=None, experiment="e", name="r", tags={})
    metrics(journal, 20)
    journal.close()
    content = journal.path.read_bytes()
    whole = content[:-cut].count(b"\n")
    journal.path.write_bytes(content[:-cut])
    again = Journal(journal.path)
    again.append("metrics", metrics={"loss": 0.5}, step=99)
    found = again.pending()
    again.close()
    assert len(found) in {whole + 1, whole + 2}  # a line may be cut just before its end
    assert found[-1].fields["step"] == 99
    for line in journal.path.read_bytes().splitlines()[:whole]:
        json.loads(line)


def test_journal_takes_records_while_another_thread_sends(journal):
    total, sent = 3000, []

    def send():
        while len(sent) < total + 1:
            for entry in journal.pending(50):
                sent.append(entry)
                journal.mark_sent(entry.end)

    thread = threading.Thread(target=send)
    thread.start()
    metrics(journal, total)
    thread.join(60)
    assert [entry.fields["step"] for entry in sent[1:]] == list(range(total))


def test_journal_passes_a_line_by_that_says_nothing(tmp_path, journal):
    metrics(journal, 2)
    with journal.path.open("a") as file:
        file.write('{"kind": "sent"}\n{"kind": "metrics"}\n')
    found = Journal(journal.path)
    assert found.header == journal.header
    assert found.steps == journal.steps
    found.close()


@pytest.mark.parametrize("line", ['{"kind": "run"}', '{"kind": "run", "time": 1, "kez": "a"}'])
def test_journal_with_a_damaged_first_line_is_nobodys(tmp_path, line):
    (tmp_path / "tracking.jsonl").write_text(line + "\n")
    assert known_run_id(tmp_path, "abc") == "abc"
    assert unended_run(tmp_path) == ()
    fresh = open_journal(tmp_path, run_id="abc", experiment="e", name="r", tags={})
    assert fresh.is_new
    fresh.close()
    assert (tmp_path / "tracking.1.jsonl").read_text() == line + "\n"


@pytest.mark.parametrize("to", [-5, 10**8, "x"])
def test_journal_does_not_believe_that_more_was_sent_than_there_is(journal, to):
    metrics(journal, 3)
    with journal.path.open("a") as file:
        file.write(json.dumps({"kind": "sent", "to": to}) + "\n")
    found = Journal(journal.path)
    assert len(found.pending()) == 4
    found.close()


def test_records_whose_run_is_not_known_are_refused_by_replay(tmp_path, capsys):
    (tmp_path / "tracking.jsonl").write_text('{"kind": "metrics", "metrics": {}, "step": 1}\n')
    assert main([str(tmp_path), "--uri", f"sqlite:///{tmp_path}/mlflow.db"]) == 1
    assert "refused: its first line is missing or damaged" in capsys.readouterr().out
