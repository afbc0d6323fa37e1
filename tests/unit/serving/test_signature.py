"""The webhook's signature: MLflow's own is taken, what was altered or overheard is not."""

from __future__ import annotations

import pytest
from mlflow.webhooks.delivery import _generate_hmac_signature

from serving.errors import SettingsError, SignatureError
from serving.signature import ID, SIGNATURE, TIMESTAMP, VARIABLE, WebhookSignature, read_secret

SECRET = "sixteen letters!"
NOW = 1_700_000_000
BODY = '{"entity": "model_version", "name": "é"}'


def signed(*, moment: str = str(NOW), body: str = BODY, delivery: str = "a-b") -> dict[str, str]:
    return {
        ID: delivery,
        TIMESTAMP: moment,
        SIGNATURE: _generate_hmac_signature(SECRET, delivery, moment, body),
    }


def check(headers: dict[str, str], body: str = BODY) -> None:
    """With the headers as a server reads them."""
    read = {name: text.encode().decode("latin-1") for name, text in headers.items()}
    WebhookSignature(SECRET, clock=lambda: NOW).check(read, body.encode())


@pytest.mark.parametrize("age", [-299, 0, 299])
def test_what_mlflow_signs_is_taken_within_five_minutes(age):
    check(signed(moment=str(NOW - age)))


def test_an_id_of_any_bytes_is_signed_as_it_is_sent():
    check(signed(delivery="livraison-é"))


def test_of_several_signatures_one_has_to_be_right():
    headers = signed()
    check(headers | {SIGNATURE: f"v1,old {headers[SIGNATURE]}"})


@pytest.mark.parametrize(
    "change",
    [
        {SIGNATURE: ""},
        {SIGNATURE: "v1,"},
        {SIGNATURE: "v1,\u00e9"},
        {ID: "a-c"},
        {TIMESTAMP: str(NOW + 1)},
        {SIGNATURE: signed()[SIGNATURE].replace("v1,", "v2,")},
        {SIGNATURE: signed()[SIGNATURE].removeprefix("v1,")},
    ],
)
def test_what_was_altered_is_refused(change):
    with pytest.raises(SignatureError, match="does not sign"):
        check(signed() | change)
    with pytest.raises(SignatureError, match="does not sign"):
        check(signed(), BODY + " ")
    with pytest.raises(SignatureError, match="does not sign"):
        check({})


@pytest.mark.parametrize("change", [{SIGNATURE: ""}, {SIGNATURE: "v2,x"}, {TIMESTAMP: "1"}])
def test_what_no_body_could_mend_is_refused_before_it_is_read(change):
    signature = WebhookSignature(SECRET, clock=lambda: NOW)
    signature.check_head(signed())
    with pytest.raises(SignatureError):
        signature.check_head(signed() | change)


@pytest.mark.parametrize(
    "moment",
    [str(NOW - 301), str(NOW + 301), "now", "-1", "", "²", "9" * 400, "9" * 5000, "1_700_000_000"],
)
def test_what_is_late_or_has_no_time_is_refused_however_well_it_is_signed(moment):
    with pytest.raises(SignatureError, match=TIMESTAMP):
        check(signed(moment=moment))


def test_the_secret_comes_from_the_file_or_the_variable(tmp_path):
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    assert read_secret(str(file), {VARIABLE: "another one of it"}) == SECRET
    assert read_secret("", {VARIABLE: SECRET}) == SECRET
    assert read_secret("", {}) == ""


def test_a_secret_that_is_none_is_refused_and_not_told(tmp_path):
    (tmp_path / "empty").write_text("\n")
    for file, variables in ((str(tmp_path / "empty"), {}), ("", {VARIABLE: "short"})):
        with pytest.raises(SettingsError, match="shorter than 16") as found:
            read_secret(file, variables)
        assert "short " not in str(found.value).replace("shorter", "")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_secret(str(tmp_path / "nothing"), {})
