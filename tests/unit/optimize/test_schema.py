from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from bundle.errors import RequestError
from optimize import schema
from optimize.schema import (
    ExportConfig,
    Exporter,
    GateConfig,
    GoldenConfig,
    Target,
    check,
    register_schemas,
)
from trainer.compose import compose
from trainer.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]


def composed(*overrides: str) -> ExportConfig:
    return OmegaConf.to_object(compose("export", overrides, schemas=register_schemas))


def test_export_config_takes_its_defaults_from_the_dataclass():
    assert composed() == ExportConfig()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("register=true", True),
        ("register=false", False),
        ("register=null", None),
        ("register=news", "news"),
    ],
)
def test_register_is_a_choice_or_a_name(given, expected):
    assert composed(given).register == expected


def test_enums_are_given_by_name():
    config = composed("target=none", "optimize.exporter=torchscript")
    assert config.target is Target.none
    assert config.optimize.exporter is Exporter.torchscript


@pytest.mark.parametrize(
    ("override", "field"),
    [
        ("chekpoint=x", "chekpoint"),
        ("optimize.opsett=17", "optimize.opsett"),
        ("optimize.opset=many", "optimize.opset"),
        ("optimize.golden.samples=1.5", "optimize.golden.samples"),
        ("target=gpu", "target"),
        ("optimize.exporter=onnx", "optimize.exporter"),
        ("optimize.calibration.ranges=mean", "optimize.calibration.ranges"),
        ("overwrite=maybe", "overwrite"),
    ],
)
def test_config_is_refused_naming_the_field_when_it_is_wrong(override, field):
    with pytest.raises(ConfigError, match=field) as caught:
        composed(override)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "override",
    [
        "optimize.opset=0",
        "optimize.max_samples=0",
        "optimize.batch_size=0",
        "optimize.invariance_samples=-1",
        "optimize.invariance_samples=1",
        "optimize.threads=0",
        "optimize.threads=100000",
        "optimize.threads=99999999999",
        "optimize.tolerance=-1e-4",
        "optimize.tolerance=nan",
        "optimize.tolerance=inf",
        "optimize.tolerance=2",
        "optimize.golden.samples=0",
        "optimize.golden.atol=-1",
        "optimize.golden.atol=1e30",
        "optimize.golden.rtol=2",
        "optimize.golden.rtol=-1",
        "optimize.gate.budget=0",
        "optimize.gate.budget=1.5",
        "optimize.gate.agreement=1.1",
        "optimize.gate.batch_flips=-0.1",
        "optimize.gate.batch_flips=0",
        "optimize.samples.calibration=0",
        "optimize.samples.tuning=0",
        "optimize.benchmark.rounds=1",
        "optimize.benchmark.seconds=-1",
        "optimize.benchmark.threads=0",
        "optimize.benchmark.threads=100000",
        "optimize.benchmark.batch_sizes=[]",
        "optimize.benchmark.batch_sizes=[8,0]",
        "optimize.benchmark.batch_sizes=[1,4097]",
        "optimize.benchmark.batch_sizes=[8,1,8]",
        "optimize.select.margin=2",
        "optimize.calibration.percentile=100.5",
        "optimize.calibration.percentile=0.99",
        "optimize.tensorrt.max_batch_size=0",
        "optimize.tensorrt.workspace_mb=0",
        "optimize.cache.max_gb=-1",
    ],
)
def test_config_is_refused_when_a_number_cannot_be(override):
    config = composed(override)
    with pytest.raises(RequestError) as caught:
        check(config)
    assert caught.value.field == override.partition("=")[0]
    assert override.partition("=")[0] in str(caught.value)


def test_defaults_are_accepted():
    check(ExportConfig())


def test_threads_are_refused_naming_how_many_cores_there_are(monkeypatch):
    monkeypatch.setattr(schema, "available_cores", lambda: 4)
    check(composed("optimize.threads=4", "optimize.benchmark.threads=4"))
    with pytest.raises(RequestError, match=r"optimize\.threads=5 must be 1 to 4"):
        check(composed("optimize.threads=5"))


def test_batch_sizes_are_told_as_they_were_given():
    for given in ("[]", "[8, 0]"):
        with pytest.raises(RequestError) as caught:
            check(composed(f"optimize.benchmark.batch_sizes={given}"))
        assert f"optimize.benchmark.batch_sizes={given} must hold" in str(caught.value)


@pytest.mark.parametrize(("part", "settings"), [("gate", GateConfig()), ("golden", GoldenConfig())])
def test_settings_are_documented_with_their_defaults(part, settings):
    page = (ROOT / "docs" / "optimization.md").read_text(encoding="utf-8")
    for field, value in vars(settings).items():
        assert f"`optimize.{part}.{field}` ({value:g})" in page
