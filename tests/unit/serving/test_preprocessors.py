"""Versions that preprocess alike share a preprocessor; nobody else does."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import pytest

from bundle.errors import NotFoundError
from serving.preprocessors import Preprocessors
from tests.tiny_bundle import IMAGE, text_config, tokenizer_json


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(tokenizer_json())
    return tmp_path


def test_a_tokenizer_is_read_once_for_all_versions_that_have_it(folder, tmp_path_factory):
    preprocessors = Preprocessors()
    first = preprocessors.get(text_config(), assets=folder)
    empty = tmp_path_factory.mktemp("empty")
    assert preprocessors.get(text_config(), assets=empty) is first
    with pytest.raises(NotFoundError, match=r"tokenizer\.json"):
        preprocessors.get(text_config(max_length=4), assets=empty)


def test_what_preprocesses_otherwise_has_a_preprocessor_of_its_own(folder):
    preprocessors = Preprocessors()
    configs = [text_config(), text_config(max_length=4), IMAGE, replace(IMAGE, height=9)]
    made = [preprocessors.get(config, assets=folder) for config in configs]
    assert [preprocessor.config for preprocessor in made] == configs
    assert len(set(map(id, made))) == len(configs)
    assert preprocessors.get(None, assets=folder) is None


def test_what_no_version_uses_any_more_is_forgotten(folder):
    preprocessors = Preprocessors()
    gone = weakref.ref(preprocessors.get(text_config(), assets=folder))
    gc.collect()
    assert gone() is None
