"""Events: written line by line, and read whatever else lies between."""

from __future__ import annotations

from trainer.events import FILE, EventTail, read_events, record


def test_what_is_no_event_is_passed_by(tmp_path):
    record(tmp_path, "restart", number=1)
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'[]\n5\n\xff{}\n{"no": "kind"}\n{"kind": "ha')
        file.write(b"\n")
    record(tmp_path, "resume", checkpoint="\udcff.ckpt")
    assert [event["kind"] for event in read_events(tmp_path)] == ["restart", "resume"]
    found = list(EventTail(tmp_path, since=0, done=0).read())
    assert [event.number for event in found] == [1, 2]
