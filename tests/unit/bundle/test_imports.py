"""What the bundle may be imported without, and what importing it must not do."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

BLOCK = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {
            "torch", "lightning", "pytorch_lightning", "torchmetrics", "hydra", "omegaconf",
            "transformers", "onnx", "onnxscript", "litserve", "trainer", "optimize", "serving",
        }:
            raise ImportError(f"{name} must not be imported here")

sys.meta_path.insert(0, Refuse())
"""

LINE = """
import numpy
from bundle.engine.select import load_engine
from bundle.model import Model
from bundle.registry import ModelRegistry
from bundle.uri import resolve

version = ModelRegistry().register(sys.argv[1])
model = Model.load("models:/digits@champion", provider="cpu")
answer = model.predict({"inputs": {"image": numpy.zeros((3, 6, 5), numpy.uint8)}})
print(version.number, model.version, sorted(answer))
"""


def run(program, *arguments, cwd, root):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        cwd=cwd,
        env={**__import__("os").environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )


def modules(root):
    paths = sorted((root / "bundle").rglob("*.py"))
    names = [path.relative_to(root).with_suffix("").as_posix().replace("/", ".") for path in paths]
    return [name.removesuffix(".__init__") for name in names]


def test_bundle_registers_loads_and_answers_without_any_framework(
    image_bundle, tracking_uri, tmp_path, monkeypatch, pytestconfig
):
    monkeypatch.setenv("TRAINYARD_CACHE", str(tmp_path / "cache"))

    done = run(BLOCK + LINE, image_bundle.path, cwd=tmp_path, root=pytestconfig.rootpath)

    assert done.stdout == "1 1 ['prediction']\n", done.stderr


def test_every_module_is_imported_without_any_framework_and_starts_nothing(tmp_path, pytestconfig):
    names = modules(pytestconfig.rootpath)
    program = BLOCK + textwrap.dedent(
        f"""
        import logging, os, threading, warnings
        import numpy, onnxruntime, PIL.Image, tokenizers  # what they do is their own affair
        before = (dict(os.environ), list(warnings.filters), logging.getLogger().handlers[:])
        import importlib
        for name in {[name for name in names if "registry" not in name]!r}:
            importlib.import_module(name)
        after = (dict(os.environ), list(warnings.filters), logging.getLogger().handlers[:])
        assert before == after, (before, after)
        assert threading.active_count() == 1, threading.enumerate()
        assert sys.modules.keys().isdisjoint({{"mlflow", "fsspec", "pandas", "rich", "starlette"}})
        for name in {names!r}:
            importlib.import_module(name)
        assert threading.active_count() == 1, threading.enumerate()
        """
    )

    done = run(program, cwd=tmp_path, root=pytestconfig.rootpath)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_plain_folder_is_served_without_the_registry(image_bundle, tmp_path, pytestconfig):
    program = """
    import sys
    from bundle.model import Model
    Model.load(sys.argv[1], provider="cpu")
    assert "mlflow" not in sys.modules and "sqlalchemy" not in sys.modules
    """

    done = run(program, image_bundle.path, cwd=tmp_path, root=pytestconfig.rootpath)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("package", ["bundle.registry"])
def test_public_face_is_sorted_and_complete(package):
    module = __import__(package, fromlist=["__all__"])

    assert module.__all__ == sorted(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)
