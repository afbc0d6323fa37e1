from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from bundle.engine.profile import ShapeProfile
from optimize import measure
from optimize.cache import ContentCache
from optimize.measure import BASELINES, TORCH_FP32
from optimize.progress import StageProgress
from optimize.schema import OptimizeConfig
from optimize.timing import Contest


@pytest.fixture
def hold(image_case, tmp_path, monkeypatch):
    """Measure the same contestants again, of which these fail now."""
    subject = SimpleNamespace(
        rows=image_case.rows,
        preprocessor=image_case.preprocessor,
        restored=SimpleNamespace(path=tmp_path / "best.ckpt", sha256="a"),
    )

    def run(**failed: str) -> Contest | None:
        """None if it was kept from before."""
        contest = Contest(
            threads=1, rounds=3, baseline="b", timings={}, failed=failed, load={"others": 0.0}
        )
        monkeypatch.setattr(measure, "run_contest", lambda *_, **__: contest)
        found, occasion = measure.hold_contest(
            subject,
            [SimpleNamespace(name="fp32", graph=None, assessment=None)],
            OptimizeConfig(),
            provider="cpu",
            cache=ContentCache(tmp_path),
            progress=StageProgress(),
        )
        return None if occasion["found"] else found

    return run


def test_contest_is_kept_when_everyone_was_timed(hold):
    assert hold().failed == {}
    assert hold() is None


def test_contest_is_not_kept_when_someone_failed(hold):
    """A process that was killed for memory is no property of the variant."""
    assert hold(int8="the process of int8 ended with code -9").failed
    assert hold().failed == {}


def candidate(name: str, *, plan: bool = False):
    graph = SimpleNamespace(path=Path(name), sha256=name, plan="here" if plan else None)
    return SimpleNamespace(name=name, graph=graph, precision="fp32", assessment=True)


@pytest.fixture
def entrants(image_case, tmp_path, monkeypatch):
    """Who takes part, against whom, and who is apart."""
    monkeypatch.setattr(measure, "openvino_missing", lambda: "no OpenVINO here")
    subject = SimpleNamespace(
        rows=image_case.rows,
        preprocessor=image_case.preprocessor,
        restored=SimpleNamespace(path=tmp_path / "best.ckpt", sha256="a"),
        profile=lambda max_batch_size: ShapeProfile(shapes={"image": [[max_batch_size]] * 3}),
    )

    def hold(*candidates, provider: str, cuda: bool):
        def contest(contestants, *_, baseline, apart, **__):
            contest.seen = {each.name: each for each in contestants}
            return Contest(
                threads=1, rounds=3, baseline=baseline, timings={}, failed={}, load={"others": 0.0},
                apart=apart,
            )  # fmt: skip

        monkeypatch.setattr(measure, "run_contest", contest)
        monkeypatch.setattr(measure.torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(measure.toolchain, "machine", dict)
        found, _ = measure.hold_contest(
            subject,
            candidates,
            OptimizeConfig(),
            provider=provider,
            cache=ContentCache(None),
            progress=StageProgress(),
        )
        return contest.seen, found

    return hold


@pytest.mark.parametrize("cuda", [True, False])
@pytest.mark.parametrize("provider", ["cpu", "cuda", "tensorrt"])
def test_nothing_is_compared_with_what_runs_on_another_device(provider, cuda, entrants):
    """TensorRT alone may have the GPU: ONNX Runtime then runs graphs on the CPU."""
    seen, contest = entrants(
        candidate("fp32"), candidate("trt", plan=True), provider=provider, cuda=cuda
    )

    assert seen["trt"].device == seen[contest.baseline].device == "gpu"
    assert set(contest.apart) == ({"fp32"} if provider == "cpu" else set())
    if cuda:
        assert contest.baseline == TORCH_FP32
        assert {seen[name].provider for name in BASELINES} == {"cuda"}
        assert contest.failed == {}
    else:
        assert contest.baseline == ("trt" if provider == "cpu" else "fp32")
        assert contest.failed == dict.fromkeys(BASELINES, "torch finds no CUDA device")
    assert (seen["fp32"].profile is None) == (provider != "tensorrt")
    assert seen["trt"].profile is None


def test_graphs_on_the_cpu_are_compared_with_torch_on_the_cpu(entrants):
    seen, contest = entrants(candidate("fp32"), provider="cpu", cuda=True)
    assert (contest.baseline, seen[TORCH_FP32].provider, contest.apart) == (TORCH_FP32, "cpu", {})
