"""Property 3: no damage to a checkpoint goes unnoticed."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainer.checkpoints.checkpoint import (
    read_checkpoint,
    sidecar_path,
    verify_checkpoint,
    write_checkpoint,
)
from trainer.errors import CheckpointError

STATE = {"global_step": 3, "epoch": 1, "state_dict": {"w": torch.arange(2000.0)}, "note": "ä"}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoints") / "last.ckpt"
    write_checkpoint(path, STATE)
    return path, path.read_bytes(), sidecar_path(path).read_bytes()


@st.composite
def damages(draw):
    """A function of the file's bytes."""
    at, length = draw(st.floats(0, 1, exclude_max=True)), draw(st.integers(1, 64))
    noise = draw(st.binary(min_size=1, max_size=64))
    kind = draw(st.sampled_from(["cut", "flip", "hole", "insert", "append", "overwrite", "drop"]))

    def damage(content: bytes) -> bytes:
        start = int(at * len(content))
        rest = content[start + length :]
        return {
            "cut": content[:start],
            "flip": content[:start]
            + bytes([content[start] ^ (1 << length % 8)])
            + content[start + 1 :],
            "hole": content[:start] + bytes(min(length, len(content) - start)) + rest,
            "insert": content[:start] + noise + content[start:],
            "append": content + noise,
            "overwrite": content[:start] + noise + content[start + len(noise) :],
            "drop": content[:start] + rest,
        }[kind]

    return damage


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(damage=damages())
def test_property_03_damage_is_detected_wherever_it_is(written, damage):
    path, content, sidecar = written
    sidecar_path(path).write_bytes(sidecar)
    damaged = damage(content)
    path.write_bytes(damaged)
    if damaged == content:  # a hole where there were zeros
        assert torch.equal(read_checkpoint(path)["state_dict"]["w"], STATE["state_dict"]["w"])
        return
    with pytest.raises(CheckpointError):
        read_checkpoint(path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(damage=damages())
def test_property_03_damage_to_the_sidecar_is_detected_wherever_it_is(written, damage):
    path, content, sidecar = written
    path.write_bytes(content)
    damaged = damage(sidecar)
    sidecar_path(path).write_bytes(damaged)
    try:
        same = json.loads(damaged) == json.loads(sidecar)  # space after the end, for one
    except ValueError:
        same = False
    if same:
        verify_checkpoint(path)
        return
    with pytest.raises(CheckpointError):
        verify_checkpoint(path)
