"""The pipe to the supervisor: whoever speaks does not wait, and a deaf process ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Pipe
from typing import TYPE_CHECKING

from serving.control import ORPHANED, Sender, listen
from tests.running_server import eventually

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

LARGE = "x" * 1_000_000
"""More than a pipe holds."""


def test_who_has_something_to_say_does_not_wait_until_it_is_heard():
    ours, theirs = Pipe()
    sender = Sender(ours)
    for number in range(20):
        sender.send((number, LARGE))
    assert [theirs.recv()[0] for _ in range(20)] == list(range(20))
    sender.send("the last")
    sender.close()
    assert theirs.recv() == "the last"


def test_what_several_threads_say_arrives_whole():
    ours, theirs = Pipe()
    sender = Sender(ours)
    threads = [
        threading.Thread(target=lambda n=number: [sender.send((n, LARGE)) for _ in range(5)])
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    heard = [theirs.recv() for _ in range(20)]
    assert sorted(number for number, _ in heard) == sorted([*range(4)] * 5)
    assert {text for _, text in heard} == {LARGE}


def _fail(message: object) -> None:
    raise ValueError(message)


def _run(control: Connection, directory: Path) -> None:
    listen(control, directory=directory, on_message=_fail)
    control.send("I listen")
    threading.Event().wait()


def process(folder: Path) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    """One that fails when it hears something, and else waits."""
    ours, theirs = Pipe()
    started = multiprocessing.get_context("spawn").Process(target=_run, args=(theirs, folder))
    started.start()
    theirs.close()
    return started, ours


def test_a_process_that_fails_to_listen_ends(tmp_path):
    started, ours = process(tmp_path)
    ours.send("hello")
    started.join(60)
    assert started.exitcode == 1


def _supervise(folder: Path) -> None:
    """A supervisor that dies."""
    _, ours = process(folder)
    ours.recv()
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_whose_supervisor_dies_tidies_up(tmp_path):
    folder = tmp_path / "sockets"
    folder.mkdir()
    supervisor = multiprocessing.get_context("spawn").Process(target=_supervise, args=(folder,))
    supervisor.start()
    supervisor.join(60)
    assert supervisor.exitcode == -signal.SIGKILL
    eventually(lambda: not folder.exists())


def test_a_process_that_cannot_hear_its_supervisor_ends_and_takes_nothing_with_it(tmp_path):
    started, ours = process(tmp_path)
    ours.recv()
    ours.close()
    started.join(60)
    assert started.exitcode == ORPHANED
    assert tmp_path.exists()
