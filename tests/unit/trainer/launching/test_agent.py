from __future__ import annotations

import pytest

from trainer.control import ControlFolder, Failure
from trainer.launching.agent import Agent, WorkerError
from trainer.launching.rendezvous import Meeting


@pytest.fixture
def agent(config, tmp_path):
    """Of one node, with three restarts left; it has started nothing yet."""
    meeting = Meeting.plan(config())
    spec = meeting.worker_spec(
        processes=2, entrypoint="true", arguments=(), max_restarts=3, monitor_seconds=1
    )
    agent = Agent(
        spec,
        meeting.logs(str(tmp_path)),
        control=ControlFolder(tmp_path),
        backoff=0,
        hang_timeout=None,
        stop_timeout=1,
    )
    agent._worker_group.group_world_size = 1
    yield agent
    meeting.close()


LOST = Failure(rank=1, message="RuntimeError: lost", exit_code=1, final=False)


def test_failure_is_not_tried_again_when_it_came_before_the_first_batch(agent):
    with pytest.raises(WorkerError, match="before its first batch"):
        agent._judge(LOST)


def test_failure_is_tried_again_when_it_came_right_after_the_first_batch(agent, tmp_path):
    ControlFolder(tmp_path).beat(0)  # and nobody has looked since
    agent._judge(LOST)
