"""Sender: brings a journal's records to the server, in a thread that nobody waits for."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from trainer.errors import AwayError, PreflightError, TrackingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from trainer.tracking.journal import Entry, Journal
    from trainer.tracking.mlflow_run import MlflowRun

log = logging.getLogger(__name__)
_RHYTHM = 5.0
"""Seconds between two sendings when nobody is in a hurry."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
"""Seconds before an absent server is asked again; twice as long each time."""
_RECORDS_A_ROUND = 500
_VALUES_A_CALL = 1000


class Sender:
    """Tries for as long as it lives; what could not be sent stays in the journal."""

    def __init__(self, journal: Journal, run: MlflowRun) -> None:
        self._journal = journal
        self._run = run
        self._news = threading.Condition()
        self._asked = 0  # by `flush`
        self._done = 0  # the newest `_asked` that was seen to
        self._stopping = False
        self.first_answer = threading.Event()
        """Set when it is known whether the server is there."""
        self.away: AwayError | None = None
        """Why nothing can be sent now."""
        self.wrong: TrackingError | PreflightError | None = None
        """Why nothing ever will, or the first record that was refused."""
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def flush(self, timeout: float) -> bool:
        """Send what waits, now; whether all of it was sent. An absent server is asked once."""
        if not self._thread.is_alive():
            return not self._journal.is_pending
        with self._news:
            self._asked += 1
            asked = self._asked
            self._news.notify_all()
            self._news.wait_for(lambda: self._done >= asked, timeout)
        return not self._journal.is_pending

    def stop(self) -> bool:
        """Send nothing more; whether the thread has ended."""
        with self._news:
            self._stopping = True
            self._news.notify_all()
        self._thread.join(1.0)
        return not self._thread.is_alive()

    def _work(self) -> None:
        pause = 0.0
        while True:
            with self._news:
                asked = self._asked
            try:
                send_all(self._journal, self._run, refused=self._refused, go_on=self._goes_on)
            except AwayError as error:
                pause = min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE)
                self._went_away(error)
            except (PreflightError, TrackingError) as error:
                self.wrong = error
                pause = _LONGEST_PAUSE
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not go unheard
                pause = _LONGEST_PAUSE
                self._went_away(AwayError(f"tracking: {type(error).__name__}: {error}"))
            else:
                pause = 0.0
                self._came_back()
            self.first_answer.set()
            with self._news:
                self._done = asked
                self._news.notify_all()
                self._news.wait_for(self._is_wanted, pause or _RHYTHM)
                if self._stopping:
                    return

    def _is_wanted(self) -> bool:
        return self._stopping or self._asked > self._done

    def _goes_on(self) -> bool:
        return not self._stopping

    def _refused(self, error: TrackingError) -> None:
        if self.wrong is None:
            log.warning("tracking: %s; it stays in %s", error, self._journal.path)
            self.wrong = error

    def _went_away(self, error: AwayError) -> None:
        if self.away is None:
            log.warning("tracking: %s; records wait in %s", error, self._journal.path)
        self.away = error

    def _came_back(self) -> None:
        if self.away is not None:
            log.info("tracking: the server is back and has all records")
        self.away = None
        if isinstance(self.wrong, PreflightError):
            self.wrong = None


def send_all(
    journal: Journal,
    run: MlflowRun,
    *,
    refused: Callable[[TrackingError], None],
    go_on: Callable[[], bool] = lambda: True,
) -> int:
    """Send a journal's records, in order, until none waits; how many there were.

    Raises what `MlflowRun.open` raises, and AwayError if the server stops taking them.
    """
    if not run.is_open:
        run.open()
    count = 0
    while go_on() and (entries := journal.pending(_RECORDS_A_ROUND)):
        for batch in _batches(entries):
            if not go_on():
                return count
            _send(batch, journal, run, refused)
            count += len(batch)
    return count


def _send(
    batch: Sequence[Entry],
    journal: Journal,
    run: MlflowRun,
    refused: Callable[[TrackingError], None],
) -> None:
    try:
        run.send(batch)
    except AwayError:
        raise
    except TrackingError as error:
        if len(batch) > 1:  # the others are not to blame
            for entry in batch:
                _send([entry], journal, run, refused)
            return
        journal.mark_refused(batch[0], str(error))
        refused(error)
    else:
        journal.mark_sent(batch[-1].end)


def _batches(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Metrics together, as many as one call takes; everything else alone."""
    batch: list[Entry] = []
    values = 0
    for entry in entries:
        several = entry.kind == "metrics" and entry.is_whole
        size = len(entry.fields["metrics"]) if several else _VALUES_A_CALL
        if batch and values + size > _VALUES_A_CALL:
            yield batch
            batch, values = [], 0
        batch.append(entry)
        values += size
    if batch:
        yield batch
