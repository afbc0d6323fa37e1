"""What a sweep refuses before its first trial."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from trainer.errors import ConfigError
from trainer.sweep.command import sweep

BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"metric": "val/acc"}, "sweep.metric=val/acc: no trial has such a metric"),
        ({"also": {"val/time": "min"}}, "sweep.also=val/time: no trial has such a metric"),
        ({"trials": 0}, "sweep.trials=0: must be at least 1"),
        ({"jobs": 0}, "sweep.jobs=0: must be at least 1"),
    ],
)
def test_sweep_is_refused_by_name_when_a_field_cannot_be(sweep_config, fields, said):
    config = OmegaConf.create(
        {"sweep": sweep_config(**fields), "hydra": {"launcher": {"_target_": BASIC}}}
    )
    with pytest.raises(ConfigError) as error:
        sweep(config, [], loader=None)
    assert said in str(error.value)
