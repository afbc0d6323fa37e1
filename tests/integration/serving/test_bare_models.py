"""Bare files as exporters leave them, served: no batch, no dimensions, no shape, no tensors."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto

from tests.bare_graphs import (
    cross_onnx,
    endless_onnx,
    joined_onnx,
    one_node_onnx,
    squeezed_onnx,
    zipmap_onnx,
)
from tests.running_server import run_until_exit, running_server
from tests.served_bundles import double_onnx

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tritonclient.http as triton

SCALARS = {
    "BOOL": (TensorProto.BOOL, np.array(True)),
    "INT8": (TensorProto.INT8, np.array(-7, np.int8)),
    "INT64": (TensorProto.INT64, np.array(-(2**63))),
    "UINT64": (TensorProto.UINT64, np.array(2**64 - 1, np.uint64)),
    "FP16": (TensorProto.FLOAT16, np.array(0.5, np.float16)),
    "FP32": (TensorProto.FLOAT, np.array(1.5, np.float32)),
    "FP64": (TensorProto.DOUBLE, np.array(1e300)),
    "BYTES": (TensorProto.STRING, np.array("größe", dtype=object)),
    "BF16": (TensorProto.BFLOAT16, np.array(1.0, ml_dtypes.bfloat16)),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bare")
    models = {
        "double": double_onnx(),
        "cross": cross_onnx(),
        "unnamed": cross_onnx(rows=(None, None)),
        "joined": joined_onnx("ReduceMax", "Add"),
        "open": one_node_onnx("Neg", None),
        "squeezed": squeezed_onnx([-1, 2], ["N", 2]),
        **{name: one_node_onnx("Identity", [], kind=kind) for name, (kind, _) in SCALARS.items()},
    }
    for name, model in models.items():
        (folder / f"{name}.onnx").write_bytes(model)
    uris = (part for name in models for part in ("--model", str(folder / f"{name}.onnx")))
    with running_server(*uris, "--threads", "1", "--api-processes", "2", folder=folder) as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    with server.client() as client:
        yield client


def infer(client, model: str, **tensors: np.ndarray) -> dict:
    inputs = [
        {"name": name, "shape": list(array.shape), "datatype": "FP32", "data": array.tolist()}
        for name, array in tensors.items()
    ]
    answer = client.post(f"/v2/models/{model}/infer", json={"inputs": inputs})
    assert answer.status_code == 200, answer.text
    (output,) = answer.json()["outputs"]
    return output


@pytest.mark.parametrize("model", ["cross", "unnamed"])
def test_requests_whose_rows_are_no_batch_keep_to_themselves(client, model):
    sizes = [(1 + index % 3, 1 + index % 4) for index in range(48)]
    asked = [(np.full((n, 2), n, np.float32), np.full((m, 2), m, np.float32)) for n, m in sizes]

    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda pair: infer(client, model, a=pair[0], b=pair[1]), asked))

    for (a, b), answer in zip(asked, answers, strict=True):
        expected = a @ b.T
        assert answer["shape"] == list(expected.shape)
        assert answer["data"] == expected.ravel().tolist()


def test_rows_that_influence_each_other_are_only_those_of_one_request(client):
    asked = [np.full((1 + index % 3, 4), index, np.float32) for index in range(48)]

    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda x: infer(client, "joined", x=x), asked))

    assert [answer["data"] for answer in answers] == [(2 * x).ravel().tolist() for x in asked]


def test_predict_takes_whole_tensors_where_there_is_no_batch(client):
    instances = [
        {"inputs": {"a": [[1, 2]], "b": [[1, 2], [3, 4]]}},
        {"inputs": {"a": [[1, 2], [3, 4]], "b": [[1, 2]]}},
    ]
    answer = client.post("/predict/batch", json={"model": "cross", "instances": instances})

    assert [each["outputs"]["y"] for each in answer.json()["predictions"]] == [
        [[5.0, 11.0]],
        [[5.0], [11.0]],
    ]


def test_the_configuration_and_the_log_tell_what_is_no_batch(client, server):
    sizes = {
        model: client.get(f"/v2/models/{model}/config").json()["max_batch_size"]
        for model in ("double", "cross", "unnamed", "joined", "open", "squeezed", "FP32")
    }

    assert sizes == {"double": 32} | dict.fromkeys(list(sizes)[1:], 0)
    assert "double: its requests run" not in server.log
    log = server.log.replace("\\u0027", "'")
    assert "cross: its requests run one by one: 'a' has 'pictures' rows, but 'b' has" in log
    assert "unnamed: its requests run one by one: 'y' has the shape [1, 1] for one row" in log
    assert "joined: its requests run one by one: 'y' has other values for one row than" in log


@pytest.mark.parametrize(
    ("datatype", "binary"),
    [(name, binary) for name in SCALARS for binary in (False, True) if binary or name != "BF16"],
)
def test_a_scalar_is_answered_in_json_and_in_bytes(server, datatype, binary):
    _, value = SCALARS[datatype]
    tensor = triton.InferInput("x", [], datatype)
    tensor.set_data_from_numpy(value, binary_data=binary)
    wanted = [triton.InferRequestedOutput("y", binary_data=binary)]

    with triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
        answer = client.infer(datatype, [tensor], outputs=wanted)

    found = answer.as_numpy("y")
    assert answer.get_output("y")["shape"] == []
    told = found.item()
    assert (told.decode() if isinstance(told, bytes) else told) == value.item()


def test_a_scalar_is_a_sample_of_predict(client):
    for model, value in (("FP32", 1.5), ("INT64", 7), ("BOOL", False), ("BYTES", "größe")):
        answer = client.post("/predict", json={"model": model, "inputs": {"x": value}})
        assert answer.json()["outputs"] == {"y": value}


def test_a_tensor_without_a_shape_takes_any(client):
    metadata = client.get("/v2/models/open").json()
    assert [metadata[field][0]["shape"] for field in ("inputs", "outputs")] == [[-1], [-1]]
    for shape in ((), (3,), (2, 1, 4)):
        x = np.ones(shape, np.float32)
        output = infer(client, "open", x=x)
        assert (output["shape"], output["data"]) == (list(shape), (-x).ravel().tolist())
        answer = client.post("/predict", json={"model": "open", "inputs": {"x": x.tolist()}})
        assert answer.json()["outputs"] == {"y": (-x).tolist()}
    answer = client.post("/predict", json={"model": "open", "inputs": {"x": [[1], [2, 3]]}})
    assert (answer.status_code, "ragged" in answer.text) == (400, True)


def test_an_output_without_a_shape_has_that_of_its_values(client):
    for rows, shape in ((1, [2]), (3, [3, 2])):
        assert infer(client, "squeezed", x=np.ones((rows, 2), np.float32))["shape"] == shape


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        (zipmap_onnx(), ("'z' is a seq(map(int64,tensor(float)))", 'options={"zipmap": False}')),
        (endless_onnx(), ("its graph has no outputs", "export it with outputs")),
    ],
)
def test_a_refused_file_is_named_with_what_to_do(model, parts, tmp_path):
    (tmp_path / "refused.onnx").write_bytes(model)

    code, stderr = run_until_exit("--model", str(tmp_path / "refused.onnx"), folder=tmp_path)

    (line,) = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert code == 1
    for part in (f"the model {tmp_path / 'refused.onnx'} is refused", *parts):
        assert part in line
