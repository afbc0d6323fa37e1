"""Building a plan: the calls that TensorRT 11 gets, and what becomes of its refusals."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import pytest

from bundle.engine.plan import PlanKey, plans_missing
from bundle.engine.profile import ShapeProfile, Span
from bundle.errors import EngineError
from bundle.tensor import TensorSpec
from optimize.errors import PlanError
from optimize.passes.tensorrt import TensorRTPass
from tests.tensorrt_stand_in import tensorrt_stand_in

KEY = PlanKey(tensorrt="11.1.0.106", gpu="NVIDIA H100 80GB HBM3", capability="9.0")
TEXT = tuple(
    TensorSpec(name=name, dtype="int64", shape=(-1, -1)) for name in ("input_ids", "attention_mask")
)
PROFILE = ShapeProfile.of(TEXT, batch=Span.up_to(32, best=8), length=Span.up_to(64, best=128))
BUILDS = {
    "parse": True,
    "parse_from_file": True,
    "num_errors": 0,
    "add_optimization_profile": 0,
    "set_timing_cache": True,
    "serialize": bytearray(b"timed"),
    "build_serialized_network": bytearray(b"the plan"),
}


@pytest.fixture
def tensorrt(monkeypatch):
    """Puts a stand-in where `import tensorrt` finds it."""

    def install(**answers):
        module = tensorrt_stand_in(**{**BUILDS, **answers})
        monkeypatch.setitem(sys.modules, "tensorrt", module)
        return module

    return install


def built_by(**options):
    return TensorRTPass(key=KEY, profile=PROFILE, **options)


def test_plan_is_built_by_the_calls_of_tensorrt_11_in_their_order(tensorrt, tmp_path):
    module = tensorrt()
    cache = tmp_path / "timings" / "sm90"

    plan = built_by(workspace_mb=512, timing_cache=cache).run(b"onnx")

    assert plan == b"the plan"
    names = [name for name, *_ in module.calls]
    assert names == [
        "Builder", "create_network", "OnnxParser", "parse", "create_builder_config",
        "set_memory_pool_limit", "create_timing_cache", "set_timing_cache",
        "create_optimization_profile", "set_shape", "set_shape", "add_optimization_profile",
        "build_serialized_network", "get_timing_cache", "serialize",
    ]  # fmt: skip
    arguments = {name: tuple(rest) for name, *rest in module.calls}
    assert arguments["create_network"] == ()  # strongly typed is the only kind that there is
    assert arguments["parse"] == (b"onnx",)
    assert arguments["set_memory_pool_limit"] == (module.MemoryPoolType.WORKSPACE, 512 * 2**20)
    assert arguments["create_timing_cache"] == (b"",)
    assert arguments["set_timing_cache"][1:] == (("ignore_mismatch", False),)
    assert arguments["set_shape"] == ("attention_mask", (1, 1), (8, 64), (32, 64))
    assert cache.read_bytes() == b"timed"
    assert [path.name for path in cache.parent.iterdir()] == ["sm90"]


def test_model_with_weights_beside_it_is_parsed_from_its_file(tensorrt, tmp_path):
    module = tensorrt()

    built_by().build(tmp_path / "model.onnx")

    assert ("parse_from_file", str(tmp_path / "model.onnx")) in module.calls
    assert "create_timing_cache" not in [name for name, *_ in module.calls]


def test_model_of_fixed_sizes_gets_no_profile(tensorrt):
    module = tensorrt()
    fixed = ShapeProfile.of(
        [TensorSpec(name="x", dtype="float32", shape=(2, 4))],
        batch=Span.up_to(8, best=8),
        length=Span.up_to(8, best=8),
    )

    TensorRTPass(key=KEY, profile=fixed).run(b"onnx")

    assert "create_optimization_profile" not in [name for name, *_ in module.calls]


def test_timings_of_another_gpu_are_left_and_new_ones_begun(tensorrt, tmp_path):
    fits = iter([False, True])
    module = tensorrt(set_timing_cache=lambda cache, ignore_mismatch: next(fits))
    (tmp_path / "timings").write_bytes(b"of another GPU")

    built_by(timing_cache=tmp_path / "timings").run(b"onnx")

    given = [rest[0] for name, *rest in module.calls if name == "create_timing_cache"]
    assert given == [b"of another GPU", b""]
    assert (tmp_path / "timings").read_bytes() == b"timed"


@pytest.mark.parametrize("written", [True, False])
def test_plan_is_not_lost_to_a_file_of_timings_that_the_disk_refuses(
    written, tensorrt, tmp_path, caplog, monkeypatch
):
    tensorrt()
    (tmp_path / "file").write_bytes(b"")
    cache = tmp_path / ("timings" if written else "file/timings")
    if written:
        cache.write_bytes(b"")

        def refuse(self):
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(Path, "read_bytes", refuse)

    assert built_by(timing_cache=cache).run(b"onnx") == b"the plan"

    assert f"TensorRT's timings in {cache} are left out" in caplog.text


def test_graph_that_is_not_taken_is_refused_in_the_parsers_words(tensorrt):
    tensorrt(parse=False, num_errors=2, get_error=lambda index: f"node {index}:\n  no Foo")

    with pytest.raises(PlanError, match="cannot read the graph: node 0: no Foo; node 1: no Foo"):
        built_by().run(b"onnx")


def test_none_for_a_plan_is_an_error_in_tensorrts_words(tensorrt):
    def fail(network, config):
        module.logger.log(module.ILogger.WARNING, "a mere warning")
        module.logger.log(module.ILogger.ERROR, "Could not find any\nimplementation")

    module = tensorrt(build_serialized_network=fail)

    with pytest.raises(PlanError) as found:
        built_by().run(b"onnx")

    said = "TensorRT cannot build a plan: Could not find any implementation"
    assert str(found.value) == said


def test_none_without_a_word_is_an_error_too(tensorrt):
    tensorrt(build_serialized_network=None)

    with pytest.raises(PlanError, match="TensorRT gives no reason"):
        built_by().run(b"onnx")


def test_refused_profile_is_an_error(tensorrt):
    tensorrt(add_optimization_profile=-1)

    with pytest.raises(PlanError, match="refuses the shapes"):
        built_by().run(b"onnx")


def test_refused_shape_is_an_error_that_names_the_input(tensorrt):
    def refuse(name, least, best, most):
        raise RuntimeError("Shape provided for min is inconsistent with other shapes.")

    tensorrt(set_shape=refuse)

    with pytest.raises(PlanError, match="of 'input_ids': Shape provided for min"):
        built_by().run(b"onnx")


def test_builder_that_cannot_start_is_an_error(tensorrt):
    tensorrt(Builder=TypeError)

    with pytest.raises(PlanError, match="TensorRT cannot start"):
        built_by().run(b"onnx")


@pytest.mark.parametrize("version", ["10.16.1", "12.0"])
def test_other_generation_of_tensorrt_is_refused_with_what_to_install(version, tensorrt):
    tensorrt(version=version)

    with pytest.raises(EngineError, match=f"TensorRT {version} is installed") as found:
        built_by().run(b"onnx")

    assert "tensorrt>=11,<12" in found.value.remedy


def test_missing_tensorrt_is_an_error_with_a_remedy():
    if plans_missing() is None:
        pytest.skip("this machine has TensorRT")

    with pytest.raises(EngineError, match="TensorRT cannot be imported") as found:
        built_by().run(b"onnx")

    assert "trainyard[trt]" in found.value.remedy


def test_cache_key_has_all_that_a_plan_depends_on():
    parameters = built_by().parameters()

    assert parameters["tensorrt"] == KEY.tensorrt
    assert parameters["gpu"] == KEY.gpu
    assert parameters["profile"]["input_ids"] == [[1, 1], [8, 64], [32, 64]]
    other = TensorRTPass(
        key=PlanKey(tensorrt="11.2", gpu=KEY.gpu, capability="9.0"), profile=PROFILE
    )
    assert other.parameters() != parameters
