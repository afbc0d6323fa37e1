from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bundle.archive import open_bundle, sha256_file, write_bundle
from bundle.errors import BundleError, ManifestError, NotFoundError, RequestError, UnsafePathError
from bundle.manifest import Variant
from tests.tiny_bundle import image_model, image_parts


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_written_bundle_is_what_is_opened(tmp_path):
    parts = image_parts(git_commit="abc")

    written = parts.write(tmp_path / "new" / "bundle")
    opened = open_bundle(tmp_path / "new" / "bundle")

    assert opened == written
    variant = opened.manifest.variant("fp32")
    assert variant.sha256 == sha256_file(opened.file("model.onnx"))
    assert variant.bytes == opened.file("model.onnx").stat().st_size
    assert set(opened.manifest.files) == set(parts.files)
    assert leftovers(tmp_path / "new") == []


def test_written_bundle_is_byte_identical_when_written_twice(tmp_path):
    first = image_parts().write(tmp_path / "a")
    second = image_parts().write(tmp_path / "b")

    for name in ("manifest.json", *first.manifest.files):
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes()


def test_write_takes_files_from_paths_into_subfolders(tmp_path):
    parts = image_parts()
    (tmp_path / "licence").write_text("free")

    write_bundle(
        tmp_path / "bundle",
        manifest=parts.manifest,
        files={**parts.files, "docs/licence.txt": tmp_path / "licence"},
    )

    assert open_bundle(tmp_path / "bundle").file("docs/licence.txt").read_text() == "free"


def test_write_obeys_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        bundle = image_parts().write(tmp_path / "bundle")
    finally:
        os.umask(before)

    assert stat.S_IMODE(bundle.path.stat().st_mode) == 0o750
    assert stat.S_IMODE(bundle.file("model.onnx").stat().st_mode) == 0o640


def test_write_keeps_a_refused_variant_without_its_file(tmp_path):
    parts = image_parts()
    refused = Variant(name="int8", file=None, precision="int8", bytes=123)
    variants = (*parts.manifest.variants, refused)

    replace(parts, manifest=replace(parts.manifest, variants=variants)).write(tmp_path / "b")

    assert open_bundle(tmp_path / "b").manifest.variant("int8") == refused


@pytest.mark.parametrize("name", ["../x", "/x", "a\\b", "manifest.json", "a/../b"])
def test_write_refuses_unsafe_names_and_writes_nothing(name, tmp_path):
    parts = image_parts()

    with pytest.raises(UnsafePathError):
        write_bundle(tmp_path / "b", manifest=parts.manifest, files={**parts.files, name: b""})

    assert list(tmp_path.iterdir()) == []


def test_write_refuses_a_manifest_whose_files_are_not_given(tmp_path):
    with pytest.raises(ManifestError, match=r"model\.onnx is named"):
        write_bundle(tmp_path / "b", manifest=image_parts().manifest, files={})

    assert list(tmp_path.iterdir()) == []


def test_write_leaves_nothing_when_a_file_cannot_be_read(tmp_path):
    parts = image_parts()

    with pytest.raises(NotFoundError, match="gone"):
        write_bundle(
            tmp_path / "b",
            manifest=parts.manifest,
            files={**parts.files, "extra": tmp_path / "gone"},
        )

    assert list(tmp_path.iterdir()) == []


def test_write_leaves_nothing_when_lineage_is_not_json(tmp_path):
    parts = image_parts()
    manifest = replace(parts.manifest, lineage={"when": object()})

    with pytest.raises(ManifestError, match="lineage"):
        write_bundle(tmp_path / "b", manifest=manifest, files=parts.files)

    assert list(tmp_path.iterdir()) == []


def test_write_refuses_a_name_that_is_taken(tmp_path):
    first = image_parts(seed=1).write(tmp_path / "b")

    with pytest.raises(RequestError, match="exists already") as found:
        image_parts(seed=2).write(tmp_path / "b")

    assert found.value.exit_code == 2
    assert open_bundle(tmp_path / "b") == first
    assert leftovers(tmp_path) == []


def test_write_takes_an_empty_folder(tmp_path):
    (tmp_path / "b").mkdir()

    assert image_parts().write(tmp_path / "b") == open_bundle(tmp_path / "b")


def test_write_refuses_a_plain_file_in_its_place(tmp_path):
    (tmp_path / "b").write_text("mine")

    with pytest.raises(RequestError, match="not a folder"):
        image_parts().write(tmp_path / "b", overwrite=True)

    assert (tmp_path / "b").read_text() == "mine"


def test_overwrite_replaces_the_bundle_that_was_there(tmp_path):
    image_parts(seed=1).write(tmp_path / "b")

    second = image_parts(seed=2).write(tmp_path / "b", overwrite=True)

    assert open_bundle(tmp_path / "b") == second
    assert leftovers(tmp_path) == []


def test_overwrite_writes_where_nothing_was(tmp_path):
    assert image_parts().write(tmp_path / "b", overwrite=True) == open_bundle(tmp_path / "b")


def test_overwrite_replaces_through_a_link_and_keeps_the_link(tmp_path):
    image_parts(seed=1).write(tmp_path / "v1")
    (tmp_path / "current").symlink_to("v1")

    second = image_parts(seed=2).write(tmp_path / "current", overwrite=True)

    assert (tmp_path / "current").is_symlink()
    assert open_bundle(tmp_path / "v1") == second


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: (folder / "manifest.json").write_text('{"name": "a web app"}'),
        lambda folder: (folder / "thesis.tex").write_text("years of work"),
    ],
)
def test_overwrite_never_removes_what_is_not_a_bundle(spoil, tmp_path):
    image_parts().write(tmp_path / "b")
    spoil(tmp_path / "b")
    before = sorted(path.name for path in (tmp_path / "b").iterdir())

    with pytest.raises(RequestError, match="not overwritten"):
        image_parts().write(tmp_path / "b", overwrite=True)

    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == before
    assert leftovers(tmp_path) == []


def test_write_names_the_folder_when_it_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises((BundleError, RequestError), match="file"):
        image_parts().write(tmp_path / "file" / "b")


ROOT = Path(__file__).resolve().parents[3]
WRITER = """
    import sys, os
    from pathlib import Path
    from bundle.errors import RequestError
    from tests.tiny_bundle import image_parts
    parts = image_parts(seed=int(sys.argv[2]))
    print("set", flush=True)
    sys.stdin.readline()
    try:
        parts.write(Path(sys.argv[1]), overwrite=sys.argv[3] == "overwrite")
    except RequestError as error:
        sys.exit(2)
"""


def writers(folder, mode, count=4):
    program = textwrap.dedent(WRITER)
    return [
        subprocess.Popen(
            [sys.executable, "-c", program, str(folder), str(seed), mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for seed in range(count)
    ]


def start_together(processes):
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()


@pytest.mark.parametrize("mode", ["new", "overwrite"])
def test_one_writer_wins_when_several_write_one_name_at_once(mode, tmp_path):
    processes = writers(tmp_path / "b", mode)
    start_together(processes)
    for process in processes:
        process.communicate(timeout=60)

    codes = sorted(process.returncode for process in processes)

    assert codes[0] == 0
    assert set(codes) <= {0, 2}
    if mode == "new":
        assert codes == [0, 2, 2, 2]
    open_bundle(tmp_path / "b")  # whole, and of one writer
    assert leftovers(tmp_path) == []


KILLED = """
    import os, sys
    from pathlib import Path
    from tests.tiny_bundle import image_parts
    parts = image_parts(seed=9)
    print("set", flush=True)
    while True:
        parts.write(Path(sys.argv[1]), overwrite=True)
"""


@pytest.mark.parametrize("delay", [0.0, 0.003, 0.011, 0.023, 0.05])
def test_killed_writer_leaves_a_whole_bundle_at_the_name(delay, tmp_path):
    image_parts(seed=1).write(tmp_path / "b")
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "b")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    process.stdout.readline()
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)

    opened = open_bundle(tmp_path / "b")

    assert opened.file("model.onnx").read_bytes() in (image_model(seed=1), image_model(seed=9))


def test_opened_bundle_can_lie_on_a_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    image_parts().write(Path("b"))

    assert open_bundle("b").path == tmp_path / "b"
