"""Property 5: every hyperparameter of a run is on the tracking server, with its exact value."""

from __future__ import annotations

import json

import pytest
from mlflow import MlflowClient
from omegaconf import DictConfig, OmegaConf

from trainer.compose import compose
from trainer.run import train
from trainer.schema import register_schemas
from trainer.tracking.tracker import LONGEST_VALUE, flatten

SMALL = (
    "data=digits",
    "model=mlp",
    "trainer.max_steps=2",
    "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=1",
    "trainer.progress=none",
    "trainer.threads=1",
)


def _leaves(node: object, path: str = "") -> dict[str, object]:
    """Walks the resolved config on its own, without the code under test."""
    if isinstance(node, dict) and node:
        found: dict[str, object] = {}
        for key, value in node.items():
            found |= _leaves(value, f"{path}.{key}" if path else str(key))
        return found
    return {path: node}


def _logged(uri: str, folder) -> dict[str, str]:
    run_id = json.loads((folder / "summary.json").read_text())["run_id"]
    return MlflowClient(uri).get_run(run_id).data.params


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["optim=sgd", "optim.lr=0.0123456789", "seed=7", "model.hidden=[3,5,7]"],
        ["loss.label_smoothing=0.1", "trainer.gradient_clip=null", "name='ein Lauf, ü'"],
    ],
    ids=["defaults", "numbers", "text and null"],
)
def test_property_05_every_field_of_the_resolved_config_is_logged(
    tracking_uri, tmp_path, overrides
):
    cfg = compose("train", [*SMALL, *overrides], schemas=register_schemas)
    train(cfg, folder=tmp_path / "run")
    logged = _logged(tracking_uri, tmp_path / "run")
    written = OmegaConf.to_container(OmegaConf.load(tmp_path / "run" / "config.yaml"))
    expected = {name: _text(value) for name, value in _leaves(written).items()}
    assert logged == expected
    assert len(expected) > 60
    for override in overrides:
        name, _, value = override.partition("=")
        if "." in name and name != "model.hidden":
            assert logged[name] == value


def test_property_05_every_field_of_the_schema_is_among_them(tracking_uri, tmp_path):
    cfg = compose("train", SMALL, schemas=register_schemas)
    assert isinstance(cfg, DictConfig)
    train(cfg, folder=tmp_path / "run")
    logged = _logged(tracking_uri, tmp_path / "run")
    plain = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    assert set(logged) == set(_leaves(plain))


def test_property_05_a_value_too_long_for_the_server_ends_in_its_hash(tracking_uri, tmp_path):
    long = "x" * (LONGEST_VALUE + 1)
    cfg = compose("train", [*SMALL, f"+tracking.tags.note={long}"], schemas=register_schemas)
    train(cfg, folder=tmp_path / "run")
    logged = _logged(tracking_uri, tmp_path / "run")
    assert logged["tracking.tags.note"] == flatten({"note": long})["note"]
    assert "sha256=" in logged["tracking.tags.note"]
    assert long in (tmp_path / "run" / "config.yaml").read_text().replace("\n", "")
