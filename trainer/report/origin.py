"""What a run was made of: config, data, code, machine; and the checkpoints that it left."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from trainer.report.blocks import Facts, Gap, Listing, Note, Section, Table
from trainer.report.recorded import ENVIRONMENT
from trainer.report.text import moment, size, without_passwords
from trainer.run_folder import CONFIG

if TYPE_CHECKING:
    from trainer.report.blocks import Block
    from trainer.report.recorded import Checkpoint, Recorded

_VERSION = "version."
_HOST = "host."


def checkpoints_section(run: Recorded) -> Section:
    """Each with its step and sha256, as its description says."""
    blocks: list[Block] = []
    if run.checkpoints:
        blocks.append(
            Table(
                caption="As their descriptions say; the bytes were not read again for this page.",
                head=("Checkpoint", "Step", "Epoch", "Size", "Saved", "sha256"),
                rows=tuple(_checkpoint(item) for item in run.checkpoints),
                columns="digests",
            )
        )
    else:
        blocks.append(
            Gap(
                text="There is no checkpoint: the run saved none, or ended before the first one"
                " (callbacks.save_every_steps also saves within an epoch)."
            )
        )
    if run.quarantined:
        blocks.append(Note(text=f"In quarantine, damaged: {', '.join(run.quarantined)}."))
    return Section(id="checkpoints", title="Checkpoints", blocks=tuple(blocks))


def _checkpoint(item: Checkpoint) -> tuple[str, ...]:
    about = item.description
    name = item.name if item.there else f"{item.name} (not in the folder)"
    if not about:
        return (f"{name} (no readable description)", "", "", "", "", "")
    digest = about.get("sha256")
    if digest is None and isinstance(about.get("files"), dict):
        digest = f"{len(about['files'])} files, see manifest.json"
    return (
        name,
        str(about.get("step", "")),
        str(about.get("epoch", "")),
        size(about.get("bytes")),
        moment(about.get("created")),
        str(digest or ""),
    )


def lineage_section(run: Recorded) -> Section:
    """Identity, code and data."""
    known = run.environment
    commit = str(known.get("git_commit", ""))
    if commit and str(known.get("git_dirty")) == "true":
        commit += " (with changes that were not committed)"
    world = {item.description.get("world_size") for item in run.checkpoints} - {None}
    rows = [
        ("Run", str(run.summary.get("run_id") or "")),
        ("Folder", str(run.folder.absolute())),
        ("Code, git commit", commit),
        ("Data, sha256", str(known.get("data_fingerprint", ""))),
        *_data(known.get("data")),
        ("Config, sha256", _config_digest(run)),
        ("Seed", str(run.config.get("seed", ""))),
        ("Resume", str(run.config.get("resume", ""))),
        ("Processes", ", ".join(str(size) for size in sorted(world, key=str))),
    ]
    blocks: list[Block] = [Facts(rows=tuple((name, value) for name, value in rows if value))]
    if not known:
        reason = run.missing.get(ENVIRONMENT, f"{ENVIRONMENT} does not say")
        blocks.append(Gap(text=f"Code and data are not known: {reason}."))
    return Section(id="lineage", title="Lineage", blocks=tuple(blocks))


def environment_section(run: Recorded) -> Section:
    """Versions and machine, of the last start."""
    versions = _part(run.environment, _VERSION)
    if not versions and run.checkpoints:
        described = run.checkpoints[0].description.get("versions")
        versions = described if isinstance(described, dict) else {}
    host = _part(run.environment, _HOST)
    blocks: list[Block] = []
    if host:
        rows = tuple((name.replace("_", " "), str(value)) for name, value in sorted(host.items()))
        blocks.append(Facts(rows=rows))
    if versions:
        rows = tuple((str(name), str(value)) for name, value in sorted(versions.items()))
        blocks.append(
            Table(caption="Versions.", head=("Package", "Version"), rows=rows, columns="texts")
        )
    if not host:
        why = run.missing.get(ENVIRONMENT, f"{ENVIRONMENT} does not say")
        blocks.append(Gap(text=f"The machine is not known: {why}."))
    return Section(id="environment", title="Environment", blocks=tuple(blocks))


def config_section(run: Recorded) -> Section:
    """The resolved config, folded."""
    block: Block = Listing(title=CONFIG, text=without_passwords(run.config_text))
    if not run.config_text:
        why = run.missing.get(CONFIG, f"{CONFIG} is empty")
        block = Gap(text=f"The config is not known: {why}.")
    blocks = (block,)
    if run.config_text and CONFIG in run.missing:
        return Section(
            id="config",
            title="Config",
            blocks=(Gap(text=f"As it is; {run.missing[CONFIG]}."), block),
        )
    return Section(id="config", title="Config", blocks=blocks)


def _part(known: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in known.items() if k.startswith(prefix)}


def _data(told: Any) -> list[tuple[str, str]]:
    """The data's own description, a JSON text."""
    try:
        fields = json.loads(told) if isinstance(told, str) else {}
    except ValueError:
        return [("Data", str(told))]
    if not isinstance(fields, dict):
        return [("Data", str(told))]
    return [
        (f"Data, {str(name).replace('_', ' ')}", _plain(value))
        for name, value in fields.items()
        if name != "fingerprint"
    ]


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(item)}" for name, item in value.items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _config_digest(run: Recorded) -> str:
    for item in run.checkpoints:
        digest = item.description.get("config_sha256")
        if digest:
            return str(digest)
    return ""
