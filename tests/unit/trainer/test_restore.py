from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from bundle.preprocessing.image import ImagePreprocessor
from trainer.build import build_model
from trainer.checkpoints.checkpoint import KEY, read_checkpoint, write_checkpoint
from trainer.errors import CheckpointError
from trainer.lightning_model import LABEL
from trainer.restore import restore


def test_restored_model_answers_as_the_trained_one_did(checkpoint, trained):
    restored = restore(checkpoint)
    data = restored.data()
    right = count = 0
    for batch in data.test_dataloader():
        labels = batch.pop(LABEL)
        with torch.inference_mode():
            right += int((restored.model(**batch).argmax(1) == labels).sum())
        count += len(labels)
    summary = json.loads((trained / "summary.json").read_text())
    assert right / count == pytest.approx(summary["metrics"]["test/accuracy"])


def test_restored_says_what_it_is(checkpoint, trained):
    restored = restore(checkpoint)
    summary = json.loads((trained / "summary.json").read_text())
    assert not restored.model.training
    assert restored.task == "image-classification"
    assert restored.labels == tuple("0123456789")
    assert isinstance(restored.preprocessor, ImagePreprocessor)
    assert restored.assets == {}
    assert restored.config.data.height == 8
    assert restored.config.name == "digits-mlp"
    assert restored.metadata["run_id"] == summary["run_id"]
    assert restored.metadata["step"] > 0
    assert restored.metadata["data_fingerprint"] == restored.data().fingerprint
    assert len(restored.sha256) == 64


def _without(field):
    def change(content):
        del content[KEY][field]

    return change


def _set(field, value):
    def change(content):
        content[KEY][field] = value

    return change


def _foreign(content):
    del content[KEY]


def _no_weights(content):
    content["state_dict"] = {}


CHANGES = {
    "foreign": _foreign,
    "newer": _set("schema", 99),
    "no labels": _without("labels"),
    "no model": _without("model"),
    "no weights": _no_weights,
    "other architecture": _set(
        "model",
        {
            "_target_": "trainer.models.mlp.MLP",
            "num_classes": 3,
            "channels": 1,
            "height": 8,
            "width": 8,
        },
    ),
    "hostile target": _set("model", {"_target_": "os.system", "command": "true"}),
    "no preprocessing": _set("preprocessing", {"kind": "smell"}),
    "text in place of fields": _set("config", "text"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_restoring_refuses_in_one_line_when_the_content_is_wrong(checkpoint, name):
    content = read_checkpoint(checkpoint)
    CHANGES[name](content)
    write_checkpoint(checkpoint, content, facts={"step": 1, "epoch": 0})
    with pytest.raises(CheckpointError) as caught:
        restore(checkpoint)
    assert str(checkpoint) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_preprocessor_and_model_fit_together(checkpoint):
    restored = restore(checkpoint)
    rows = [restored.preprocessor(np.zeros((8, 8), dtype=np.uint8)) for _ in range(3)]
    batch = {k: torch.from_numpy(v) for k, v in restored.preprocessor.collate(rows).items()}
    assert restored.model(**batch).shape == (3, 10)


def test_model_can_be_built_anew_from_the_restored_config(checkpoint):
    restored = restore(checkpoint)
    model = build_model(restored.config, num_classes=10, preprocessor=restored.preprocessor)
    model.load_state_dict(restored.model.state_dict())
