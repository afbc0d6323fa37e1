"""The loop of a worker: what a batch that fails does to those who are in it."""

from __future__ import annotations

import numpy as np
import pytest

from bundle.errors import AnswerError, EngineError
from serving.batch import Item
from serving.job import FAILED, OK, REFUSED, Job
from serving.loop import execute, unsendable
from serving.metrics import MetricsCollector
from serving.streams import Turn
from serving.wire import REPLY, Message, encode


class Fussy:
    """A model that refuses some numbers, and keeps what it was asked."""

    name, version, variant, key = "m", "1", "fp32", ("m", "1")

    def __init__(self, *wrong, error=None):
        self.wrong, self.error, self.batches = set(wrong), error or EngineError("no"), []

    def run(self, parts, *, shared=False):
        numbers = [part["x"][0, 0] for part in parts]
        self.batches.append(len(numbers))
        if self.wrong.intersection(numbers):
            raise self.error
        return [{"y": part["x"]} for part in parts]

    def works(self, *, shared=False):
        return True


def numbered(count, *, deadline=9e9):
    return [
        Item(
            Job("link", number, Fussy.key, {"x": np.array([[number]])}, foretold=0.0),
            group="g", samples=1, arrived=0.0, due=0.0, deadline=deadline,
        )
        for number in range(count)
    ]  # fmt: skip


def turn(count, **options):
    return Turn(numbered(count, **options), shared=False, began=0.0, ends=0.0)


@pytest.mark.parametrize("error", [None, RuntimeError("no")], ids=["told", "untold"])
def test_what_is_wrong_with_a_batch_is_found_in_few_runs_and_is_no_measure_of_its_time(error):
    model = Fussy(20, error=error)
    replies, whole = execute(turn(32), {model.key: model}, MetricsCollector())
    statuses = {fields["id"]: fields["status"] for fields, _ in replies["link"]}
    refused = FAILED if error else REFUSED
    assert statuses == {number: refused if number == 20 else OK for number in range(32)}
    assert len(model.batches) == 11
    assert not whole


def test_a_model_that_breaks_its_word_is_at_fault_although_it_answers_its_probe(caplog):
    model = Fussy(0, error=AnswerError("output 'y' has shape [7] for a batch of 1"))
    replies, _ = execute(turn(2), {model.key: model}, MetricsCollector())
    statuses = {fields["id"]: fields["status"] for fields, _ in replies["link"]}
    assert statuses == {0: FAILED, 1: OK}
    assert "the model fails" in caplog.text


def test_a_batch_that_runs_at_once_is_a_measure_of_its_time():
    assert execute(turn(3), {Fussy.key: Fussy()}, MetricsCollector())[1]


def test_whose_deadline_has_passed_does_not_run_again():
    model = Fussy(0)
    replies, _ = execute(turn(8, deadline=0.0), {model.key: model}, MetricsCollector())
    assert (replies, model.batches) == ({}, [8])


def test_what_is_left_of_a_batch_that_failed_is_no_measure_of_its_time():
    model = Fussy(0)
    late, *_ = numbered(1, deadline=0.0)
    replies, whole = execute(
        Turn([late, numbered(2)[1]], shared=False, began=0.0, ends=0.0),
        {model.key: model},
        MetricsCollector(),
    )
    assert [fields["status"] for fields, _ in replies["link"]] == [OK]
    assert not whole


def test_what_is_said_in_place_of_an_answer_can_be_sent_whatever_that_was():
    entry = {"id": 3, "status": REFUSED, "message": "\ud800", "field": "\ud800", "share": 0.5}
    told = unsendable(entry, "of its words")
    assert encode([Message(REPLY, {"answers": [told]}, [{}])])
    assert (told["id"], told["status"], told["share"]) == (3, FAILED, 0.5)
