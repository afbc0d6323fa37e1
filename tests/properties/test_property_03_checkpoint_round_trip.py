"""Property 3: what is saved comes back, weights, optimiser and answers alike; what does not is
refused."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trainer.checkpoints.checkpoint import read_checkpoint, sidecar_path, write_checkpoint
from trainer.compose import compose
from trainer.errors import CheckpointError
from trainer.restore import restore
from trainer.run import train
from trainer.schema import register_schemas

_FEW = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.text(max_size=20)
    | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
TENSORS = st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_]).flatmap(
    lambda dtype: hnp.arrays(
        dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)
    )
)


@_FEW
@given(tensors=st.dictionaries(st.text(min_size=1, max_size=8), TENSORS, max_size=5), extra=PLAIN)
def test_property_03_any_content_comes_back_bit_for_bit(tensors, extra):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "some.ckpt"
        content = {k: torch.from_numpy(np.array(v)) for k, v in tensors.items()}
        write_checkpoint(path, {"state_dict": content, "extra": extra})
        loaded = read_checkpoint(path)
    assert loaded["extra"] == extra
    assert loaded["state_dict"].keys() == content.keys()
    for name, value in content.items():
        again = loaded["state_dict"][name]
        assert again.dtype == value.dtype
        assert again.numpy().tobytes() == value.numpy().tobytes()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("written") / "some.ckpt"
    write_checkpoint(path, {"state_dict": {"w": torch.arange(1000.0)}})
    return path


@_FEW
@given(data=st.data())
def test_property_03_any_changed_byte_is_noticed(written, data):
    content = bytearray(written.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / written.name
        path.write_bytes(content)
        sidecar_path(path).write_bytes(sidecar_path(written).read_bytes())
        with pytest.raises(CheckpointError, match="damaged"):
            read_checkpoint(path)


@_FEW
@given(data=st.data())
def test_property_03_any_truncation_is_noticed(written, data):
    content = written.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / written.name
        path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
        sidecar_path(path).write_bytes(sidecar_path(written).read_bytes())
        with pytest.raises(CheckpointError, match="damaged"):
            read_checkpoint(path)


MODELS = {
    "resnet": ("data=digits", "model=resnet_tiny", "model.widths=[4,4,4]"),
    "mlp": ("data=digits", "model=mlp", "model.hidden=[8]"),
    "bert": (
        "data=reviews",
        "data.limit=64",
        "data.max_length=16",
        "data.vocab_size=200",
        "model=bert_tiny",
        "model.width=16",
        "model.layers=1",
        "model.feed_forward=16",
    ),
}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("optim", ["adamw", "sgd"])
def test_property_03_a_trained_model_comes_back(kind, optim, tmp_path):
    small = ("tracking=none", "trainer.max_steps=3", "trainer.limit_val_batches=1")
    quiet = ("trainer.progress=none", "trainer.limit_test_batches=1", "trainer.threads=1")
    overrides = [*MODELS[kind], *small, *quiet, f"optim={optim}"]
    train(compose("train", overrides, schemas=register_schemas), folder=tmp_path / "run")
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    saved = read_checkpoint(path)
    restored = restore(path)

    state = restored.model.state_dict()
    assert {f"model.{name}" for name in state} <= set(saved["state_dict"])
    for name, value in state.items():
        assert torch.equal(value, saved["state_dict"][f"model.{name}"])

    batch = next(iter(restored.data().test_dataloader()))
    inputs = {name: value for name, value in batch.items() if name != "label"}
    with torch.inference_mode():
        first = restored.model(**inputs)
        second = restore(path).model(**inputs)
    assert torch.equal(first, second)
    assert first.shape == (len(batch["label"]), len(restored.labels))
