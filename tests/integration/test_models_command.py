"""models.py as people type it, on a real MLflow in sqlite."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from mlflow.tracking import MlflowClient

from bundle import models_command
from bundle.errors import NotFoundError, RequestError
from bundle.registry import ModelRegistry
from tests.tiny_bundle import image_parts


@pytest.fixture
def registry(tracking_uri, tmp_path):
    """Two versions of digits."""
    registry = ModelRegistry()
    bundle = image_parts(metrics={"accuracy": 0.9875}).write(tmp_path / "bundle")
    for _ in range(2):
        registry.register(bundle.path)
    return registry


@pytest.fixture
def models(registry, capsys):
    """Run a subcommand; what it prints."""

    def run(*arguments):
        assert models_command.main(arguments) == 0
        return capsys.readouterr().out

    return run


def test_list_shows_every_model_and_its_traffic(models, registry):
    registry.split("digits", {1: 90, 2: 10})

    header, _, row = models("list").splitlines()

    assert header.split() == ["NAME", "VERSIONS", "CHAMPION", "TRAFFIC", "SHADOW", "ALIASES"]
    assert row.split() == ["digits", "2", "1", "1=90%", "2=10%", "-", "candidate=2", "champion=1"]
    (document,) = json.loads(models("list", "--json"))
    assert document == {
        "name": "digits",
        "aliases": {"candidate": 2, "champion": 1},
        "champion": 1,
        "split": {"1": 90.0, "2": 10.0},
        "versions": [1, 2],
    }


ODD_NAMES = ["it's", 'say "hi"', 'it\'s "that"', "100%_\\", "it''s"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_model_is_listed_whatever_it_is_called(name, models, tracking_uri):
    client = MlflowClient(tracking_uri)
    for other in (name, name.replace('"', "x").replace("'", "y") + "z"):
        client.create_registered_model(other)
        client.create_model_version(other, "/nowhere")
    documents = {entry["name"]: entry for entry in json.loads(models("list", "--json"))}
    assert documents[name]["versions"] == [1]
    assert documents["digits"]["versions"] == [1, 2]
    assert models("promote", name, "1").startswith(f"{name}: promote went")


@pytest.mark.parametrize(
    ("tag", "value", "noun"),
    [
        ("split", "half", "split"),
        ("split", '{"1": 50}', "split"),
        ("shadow", "[]", "shadow"),
        ("shadow", '{"version": 1, "percent": NaN}', "shadow"),
        ("shadow", '{"version": 1, "percent": 200}', "shadow"),
        ("shadow", '{"version": 1, "percent": -1}', "shadow"),
    ],
)
def test_a_model_that_cannot_be_read_is_listed_with_its_error_beside_the_others(
    tag, value, noun, models, tracking_uri
):
    client = MlflowClient(tracking_uri)
    client.create_registered_model("odd")
    client.set_registered_model_tag("odd", f"trainyard.{tag}", value)
    header, _, digits, odd = models("list").splitlines()
    assert header.split()[-1] == "ERROR"
    assert digits.split()[:3] == ["digits", "2", "1"]
    assert odd.startswith("odd ")
    assert f"unreadable {noun}" in odd
    documents = json.loads(models("list", "--json"))
    assert [set(entry) & {"versions", "error"} for entry in documents] == [{"versions"}, {"error"}]
    assert f"delete the model's tag trainyard.{tag}" in documents[1]["error"]


def test_list_of_one_model_shows_its_versions(models):
    lines = models("list", "digits").splitlines()

    assert lines[0].split()[:2] == ["NUMBER", "ALIASES"]
    assert [line.split()[:2] for line in lines[2:]] == [["1", "champion"], ["2", "candidate"]]
    assert "accuracy=0.9875" in lines[2]
    documents = json.loads(models("list", "digits", "--json"))
    assert [document["number"] for document in documents] == [1, 2]
    assert documents[0]["metadata"]["labels"] == ["cat", "dog", "owl"]


@pytest.mark.parametrize("number", ["1", "champion"])
def test_show_tells_everything_of_a_version(number, models, registry):
    text = models("show", "digits", number)

    assert "metrics.accuracy 0.9875" in " ".join(text.split())
    assert json.loads(models("show", "digits", number, "--json")) == json.loads(
        json.dumps(registry.get("digits", 1).to_dict())
    )


def test_promote_split_and_rollback_say_what_they_did(models, registry):
    assert models("promote", "digits", "2") == (
        "digits: promote went from champion 1 to champion 2\n"
    )
    assert models("split", "digits", "1=90", "2=10%") == (
        "digits: split went from champion 2 to champion 2, split 1=90% 2=10%\n"
    )
    assert models("rollback", "digits") == (
        "digits: rollback went from champion 2, split 1=90% 2=10% to champion 2\n"
    )
    document = json.loads(models("rollback", "digits", "--json"))
    assert document["name"] == "digits"
    assert document["from"] == {"champion": 2, "split": None}
    assert document["to"] == {"champion": 1, "split": None}
    assert models("promote", "digits", "1") == "digits: nothing to change, champion 1 already\n"


def test_shadow_and_ramp_say_what_they_did(models, registry):
    assert models("shadow", "digits", "2", "--percent", "10") == (
        "digits: shadow went from champion 1 to champion 1, shadow 2=10%\n"
    )
    assert "2=10%" in models("list").splitlines()[2].split()
    (document,) = json.loads(models("list", "--json"))
    assert document["shadow"] == {"version": 2, "percent": 10.0}
    assert json.loads(models("shadow", "digits", "2", "--json"))["to"]["shadow"]["percent"] == 100
    assert models("shadow", "digits", "--off") == (
        "digits: shadow went from champion 1, shadow 2=100% to champion 1\n"
    )
    assert models("shadow", "digits", "--off").startswith("digits: nothing to change")
    assert models("ramp", "digits", "2") == (
        "digits: ramp went from champion 1 to champion 1, split 1=99% 2=1%, ramp of 2\n"
    )
    assert registry.routing("digits").ramp == 2


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("2", "--off"), "number"),
        ((), "number"),
        (("2", "--percent", "0"), "percent"),
        (("2", "--percent", "101"), "percent"),
        (("2", "--percent", "nan"), "percent"),
        (("2", "--percent", "1e-9"), "percent"),
        (("1",), "version"),
    ],
)
def test_a_wrong_shadow_is_told_its_field(models, arguments, field):
    with pytest.raises(RequestError) as found:
        models("shadow", "digits", *arguments)
    assert found.value.field == field


@pytest.mark.parametrize(
    "arguments",
    [
        ("promote", "digits", "2"),
        ("split", "digits", "2=100"),
        ("ramp", "digits", "2"),
        ("shadow", "digits", "3"),
        ("rollback", "digits"),
    ],
)
def test_rehearsal_changes_nothing(arguments, models, registry, tmp_path):
    registry.register(image_parts().write(tmp_path / "third").path)
    registry.split("digits", {1: 50, 2: 50})
    before = (registry.model("digits"), registry.history("digits"))

    assert "would go from champion 1, split 1=50% 2=50% to" in models(*arguments, "--dry-run")
    assert json.loads(models(*arguments, "--dry-run", "--json"))["dry_run"] is True

    assert (registry.model("digits"), registry.history("digits")) == before


def test_history_shows_who_changed_what(models, registry):
    registry.promote("digits", 2)

    lines = models("history", "digits").splitlines()

    assert lines[0].split() == ["TIME", "WHO", "ACTION", "FROM", "TO"]
    assert [line.split()[3] for line in lines[2:]] == ["register", "register", "promote"]
    assert lines[-1].endswith("champion 1  champion 2")
    documents = json.loads(models("history", "digits", "--json"))
    assert [document["action"] for document in documents] == ["register", "register", "promote"]


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        (["1"], "'1' is not a share"),
        (["one=100"], "'one=100' is not a share"),
        (["1=half", "2=half"], "'1=half' is not a share"),
        (["1=5_0", "2=50"], "'1=5_0' is not a share"),
        (["1=\u0665\u0660", "2=50"], "'1=\u0665\u0660' is not a share"),
        (["1_0=100"], "'1_0=100' is not a share"),
        (["01=50", "2=50"], "'01=50' is not a share"),
        (["2.0=100"], r"'2\.0=100' is not a share"),
        (["1= 100"], "'1= 100' is not a share"),
        (["9" * 5000 + "=100"], "'9{63}…' is not a share"),
        (["1=50", "1=50"], "version 1 has two shares"),
        (["1=50", "2=40"], "sum to 90"),
        (["1=nan"], "share of nan"),
        (["1=inf"], "share of inf"),
        (["1=-5", "2=105"], "share of -5"),
        (["1=1e-9", "2=100"], "share of 1e-09 percent, which is nobody"),
    ],
)
def test_split_refuses_what_is_no_share(shares, message, models):
    with pytest.raises(RequestError, match=message):
        models("split", "digits", *shares)


@pytest.mark.parametrize(
    "arguments",
    [
        ("split", "digits", "1=nan"),
        ("split", "digits", "1=-5", "2=105"),
        ("split", "digits", "1=50"),
        ("split", "digits", "02=100"),
        ("shadow", "digits", "2", "--percent", "nan"),
        ("shadow", "digits", "2", "--off"),
        ("shadow", "digits", "--off", "--percent", "5"),
        ("promote", "digits", "2.0"),
        ("rollback", "two\tnames"),
        ("list", " digits"),
    ],
)
def test_what_is_wrong_in_itself_is_refused_before_the_registry_is_looked_for(
    arguments, monkeypatch
):
    monkeypatch.setattr(models_command, "loading", lambda: pytest.fail("MLflow was loaded"))
    with pytest.raises(RequestError):
        models_command.main(arguments)


@pytest.mark.parametrize("arguments", [("promote", "9"), ("split", "9=0", "1=100"), ("ramp", "9")])
def test_unknown_version_is_refused(arguments, models):
    action, *rest = arguments
    with pytest.raises(NotFoundError, match="no version 9"):
        models(action, "digits", *rest)


@pytest.mark.parametrize("arguments", [("list",), ("promote",), ("rollback",), ("history",)])
def test_name_that_no_model_can_have_is_unknown(arguments, models):
    number = ("2",) if arguments == ("promote",) else ()
    with pytest.raises(NotFoundError, match="no model 'a/b'"):
        models(*arguments, "a/b", *number)


NUMBERS = ["0", "-1", "02", "2.0", " 2", "2 ", "v2", "latest", "candidate", "²", "9" * 5000]


@pytest.mark.parametrize("number", NUMBERS)
def test_what_is_no_number_of_a_version_is_refused(number, models):
    with pytest.raises(RequestError, match="is not the number of a version: ") as found:
        models("promote", "digits", number)
    assert len(str(found.value)) < 250
    assert ("show NAME ALIAS" in str(found.value)) == (number == "candidate")


@pytest.mark.parametrize("number", ["", "02", "2.0", " 2", "v2", "latest", "9" * 5000])
def test_show_takes_a_number_or_an_alias_and_nothing_like_one(number, models):
    with pytest.raises(RequestError, match="neither the number of a version nor an alias") as found:
        models("show", "digits", number)
    assert found.value.field == "version"
    assert found.value.remedy == "its versions are 1, 2, and its aliases candidate, champion"
    assert len(str(found.value)) < 150


def test_show_lists_the_aliases_where_there_is_no_such_one(models):
    with pytest.raises(NotFoundError, match=r"has no alias 'a{63}…'") as found:
        models("show", "digits", "a" * 5000)
    assert found.value.remedy == "its versions are 1, 2, and its aliases candidate, champion"


CHANGES = {
    "promote": ("1",),
    "split": ("1=100",),
    "ramp": ("1",),
    "shadow": ("1",),
    "rollback": (),
}


@pytest.mark.parametrize("action", [*CHANGES, "list", "history"])
def test_an_unknown_model_is_told_which_there_are(action, models):
    with pytest.raises(NotFoundError, match="no model 'digit' in the registry") as found:
        models(action, "digit", *CHANGES.get(action, ()))
    assert (found.value.field, found.value.remedy) == ("name", "its models are digits")


@pytest.mark.parametrize("action", CHANGES)
def test_a_model_without_versions_says_how_to_get_one(action, models, tracking_uri):
    MlflowClient(tracking_uri).create_registered_model("no words")
    with pytest.raises(NotFoundError, match="model 'no words' has no versions yet") as found:
        models(action, "no words", *CHANGES[action])
    assert "'register=no words'" in found.value.remedy


def test_a_ramp_of_the_champion_says_what_to_do(models):
    with pytest.raises(RequestError, match="no other champion") as found:
        models("ramp", "digits", "1")
    assert found.value.remedy is not None
    assert found.value.remedy.startswith("ramp another version, or promote")


@pytest.mark.parametrize("name", ["tab\tname", "line\nname", "\x1b[31mred", " digits", "a\u202eb"])
def test_a_name_that_hides_what_it_is_breaks_no_table_and_is_asked_for_by_nobody(
    name, models, tracking_uri
):
    client = MlflowClient(tracking_uri)
    client.create_registered_model(name)
    client.create_model_version(name, "/nowhere")
    lines = models("list").splitlines()
    assert len(lines) == 4
    assert all(line.isprintable() for line in lines)
    assert [line for line in lines[2:] if line.startswith("digits ")]
    assert "rename it in MLflow" in " ".join(lines)
    assert {entry["name"] for entry in json.loads(models("list", "--json"))} == {"digits", name}
    for action, arguments in CHANGES.items():
        with pytest.raises(NotFoundError, match="can be asked for") as found:
            models(action, name, *arguments)
        assert found.value.field == "name"


MANY = {f"val/class_{number}_recall": 0.5 for number in range(40)}
MANY |= {"epoch": 3, "train/loss": 0.2, "val/accuracy": 0.98, "test/accuracy": 0.97, "val/f1": 0.96}


def test_the_list_has_the_metrics_that_versions_are_chosen_by(models, registry, tmp_path):
    registry.register(image_parts(metrics=MANY).write(tmp_path / "many").path)
    lines = models("list", "digits").splitlines()
    assert lines[-1].endswith(" test/accuracy=0.97 val/accuracy=0.98 val/f1=0.96 +42")
    assert max(map(len, lines)) < 130
    assert lines[2].endswith(" accuracy=0.9875")
    documents = json.loads(models("list", "digits", "--json"))
    assert documents[-1]["metadata"]["metrics"] == MANY
    shown = dict(line.split(None, 1) for line in models("show", "digits", "3").splitlines())
    assert {name: float(shown[f"metrics.{name}"]) for name in MANY} == MANY


def test_the_list_of_versions_fits_into_a_terminal(models, registry, tmp_path, monkeypatch):
    registry.register(image_parts(metrics=MANY).write(tmp_path / "many").path)
    monkeypatch.setattr("bundle.models_report.terminal_width", lambda: 80)
    assert max(map(len, models("list", "digits").splitlines())) <= 80
    assert max(map(len, models("show", "digits", "3").splitlines())) <= 80


def command(*arguments, root, cwd, **environment):
    return subprocess.run(
        [sys.executable, str(root / "models.py"), *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


WRONG = {
    "no subcommand": ([], "", 2, "error: the following arguments are required: COMMAND"),
    "no such subcommand": (["lst"], "", 2, "error: argument COMMAND: invalid choice: 'lst'"),
    "no number": (["promote", "digits", "two"], "", 2, "error: argument NUMBER: 'two' is not the"),
    "no registry": (["list"], "", 1, "error: there is no registry at sqlite:///mlflow.db yet"),
    "no answer": (["list"], "http://127.0.0.1:9", 1, "error: the registry http://127.0.0.1:9"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_command_ends_with_one_line_and_its_code(case, tmp_path, pytestconfig):
    arguments, uri, code, message = WRONG[case]

    done = command(*arguments, root=pytestconfig.rootpath, cwd=tmp_path, MLFLOW_TRACKING_URI=uri)

    assert done.returncode == code
    assert done.stdout == ""
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    if message.startswith("error"):
        assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_command_prints_its_table_and_nothing_else(registry, tmp_path, pytestconfig):
    done = command("list", root=pytestconfig.rootpath, cwd=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[2].split()[0] == "digits"


def test_root_file_is_short_and_names_its_command(pytestconfig):
    text = (pytestconfig.rootpath / "models.py").read_text()

    assert len(text.splitlines()) <= 40
    assert "python models.py" in text
