"""Keys: what is wrong with one is told without telling it."""

from __future__ import annotations

import pytest

from serving.errors import SettingsError
from serving.guard import read_keys

SECRET = "my-very-secret-key-0123456789"


@pytest.mark.parametrize(
    "value",
    [
        SECRET,
        f"shop:{SECRET}",
        f"shop:{SECRET}:predict",
        f"shop:predict:{SECRET},{SECRET}",
        f"{SECRET}:predict",
        f"shop:predict:{SECRET},shop:predict+nothing:{SECRET}",
    ],
)
def test_malformed_entry_is_named_by_its_place_and_nothing_of_it_is_repeated(value):
    with pytest.raises(SettingsError, match=r"entry \d is not NAME:SCOPE") as caught:
        read_keys("", {"TRAINYARD_API_KEYS": value})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ('"shlüssel-mit-umlaut-ü"', "no header can carry"),
        ("1234567890123456", "not a string"),
        ('"short"', "shorter than 16"),
    ],
)
def test_key_that_cannot_be_used_is_refused_at_the_start(key, words, tmp_path):
    file = tmp_path / "keys.toml"
    file.write_text(f'[[key]]\nname = "u"\nscopes = ["predict"]\nkey = {key}\n', encoding="utf-8")
    with pytest.raises(SettingsError, match=words):
        read_keys(str(file), {})


def test_file_of_keys_without_names_is_refused(tmp_path):
    file = tmp_path / "keys.toml"
    file.write_text('key = ["abc"]')
    with pytest.raises(SettingsError, match="tables"):
        read_keys(str(file), {})


@pytest.mark.parametrize(
    "lines",
    [
        "nonsense",
        "",
        "name = 3",
        'name = "a"\nscopes = ["fly"]\nkey = "0123456789abcdef"',
        'name = "a"\nscopes = ["predict"]\nkey = "short"',
        'name = "a"\nscopes = ["predict"]\nkey = 3',
        'name = "a"\nscopes = ["predict"]',
        'name = "a"\nscopes = ["predict"]\nsha256 = "xyz"',
        'name = "a"\nscopes = ["predict"]\nkey = "0123456789abcdef"\nmax_in_flight = 0',
        'name = "a"\nscops = []',
        f'name = "{"a" * 5000}"\nscopes = ["{"b" * 5000}"]',
    ],
)
def test_what_is_wrong_with_a_file_of_keys_is_told_shortly_and_with_a_remedy(lines, tmp_path):
    file = tmp_path / "keys.toml"
    file.write_text(f"[[key]]\n{lines}\n")
    with pytest.raises(SettingsError) as caught:
        read_keys(str(file), {})
    assert caught.value.remedy
    assert len(str(caught.value).replace(str(file), "")) < 300


def test_a_file_of_keys_that_is_not_there_or_names_one_twice_is_refused_with_a_remedy(tmp_path):
    with pytest.raises(SettingsError, match="cannot be read") as caught:
        read_keys(str(tmp_path / "none.toml"), {})
    assert caught.value.remedy
    entry = "shop:predict:0123456789abcdef"
    with pytest.raises(SettingsError, match="two API keys are called 'shop'") as caught:
        read_keys("", {"TRAINYARD_API_KEYS": f"{entry},{entry}"})
    assert caught.value.remedy
