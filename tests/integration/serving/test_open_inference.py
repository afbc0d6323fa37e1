"""The Open Inference Protocol as its own client speaks it, unmodified, and as attackers do."""

from __future__ import annotations

import asyncio
import gzip
import json
import struct
import warnings
import zlib

import httpx
import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto

from tests.running_server import running_server
from tests.served_bundles import casting_onnx, identity_onnx

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tritonclient.http as triton
    import tritonclient.http.aio as triton_aio

KINDS = {
    "bool": TensorProto.BOOL,
    "int8": TensorProto.INT8,
    "int16": TensorProto.INT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "uint8": TensorProto.UINT8,
    "uint16": TensorProto.UINT16,
    "uint32": TensorProto.UINT32,
    "uint64": TensorProto.UINT64,
    "float16": TensorProto.FLOAT16,
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "string": TensorProto.STRING,
}


@pytest.fixture(scope="module")
def server(bundles, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    for name, kind in KINDS.items():
        (folder / f"same_{name}.onnx").write_bytes(identity_onnx({name: kind}))
    (folder / "whole.onnx").write_bytes(identity_onnx(KINDS, batch=2))
    (folder / "cast.onnx").write_bytes(casting_onnx())
    (folder / "whole_cast.onnx").write_bytes(casting_onnx(batch=2))
    with running_server(
        *("--model", str(bundles / "double.onnx")),
        *("--model", str(bundles / "image")),
        *("--model", str(bundles / "log.onnx")),
        *(part for name in KINDS for part in ("--model", str(folder / f"same_{name}.onnx"))),
        *(
            part
            for name in ("whole", "cast", "whole_cast")
            for part in ("--model", str(folder / f"{name}.onnx"))
        ),
        *("--threads", "1", "--api-processes", "2", "--max-body-bytes", "100000"),
        folder=folder,
    ) as server:
        yield server


@pytest.fixture(scope="module")
def triton_client(server):
    client = triton.InferenceServerClient(server.url.removeprefix("http://"))
    yield client
    client.close()


def values(dtype: str, count: int = 2) -> np.ndarray:
    """Extremes of the type, (count, 2, 3)."""
    size = count * 6
    if dtype == "string":
        texts = ["", "a", "größe 👍", "\x00nul", '"quoted"', "\n"] * count
        return np.array([text.encode() for text in texts], dtype=object).reshape(count, 2, 3)
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return (np.arange(size) % 3 == 0).reshape(count, 2, 3)
    limits = np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)
    extremes = [limits.min, limits.max, 0, 1]
    if kind.kind == "f":
        extremes += [limits.tiny, limits.eps, 1 / 3, -0.0]
    return np.resize(np.array(extremes, dtype=kind), size).reshape(count, 2, 3)


def request_of(dtype: str, array: np.ndarray, *, binary: bool):
    kind = triton.InferInput(f"in_{dtype}", list(array.shape), datatype(dtype))
    kind.set_data_from_numpy(array, binary_data=binary)
    wanted = triton.InferRequestedOutput(f"out_{dtype}", binary_data=binary)
    return [kind], [wanted]


def datatype(dtype: str) -> str:
    if dtype == "string":
        return "BYTES"
    if dtype == "bool":
        return "BOOL"
    return dtype.upper().replace("FLOAT", "FP")


def same(dtype: str, first: np.ndarray, second: np.ndarray) -> bool:
    if dtype == "string":
        texts = [
            [v if isinstance(v, bytes) else v.encode() for v in array.ravel()]
            for array in (first, second)
        ]
        return texts[0] == texts[1] and first.shape == second.shape
    return first.dtype == second.dtype and first.tobytes() == second.tobytes()


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("dtype", KINDS)
def test_every_element_type_comes_back_bit_for_bit(triton_client, dtype, binary, compression):
    array = values(dtype)
    inputs, outputs = request_of(dtype, array, binary=binary)
    result = triton_client.infer(
        f"same_{dtype}",
        inputs,
        outputs=outputs,
        request_id="mine",
        request_compression_algorithm=compression,
        response_compression_algorithm=compression,
    )
    assert same(dtype, result.as_numpy(f"out_{dtype}"), array)
    assert result.get_response()["id"] == "mine"


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_the_asyncio_client_gets_the_same_answers(server, binary):
    async def ask() -> list[np.ndarray]:
        address = server.url.removeprefix("http://")
        async with triton_aio.InferenceServerClient(address) as client:
            assert await client.is_server_ready()
            found = []
            for dtype in KINDS:
                inputs, outputs = request_of(dtype, values(dtype), binary=binary)
                result = await client.infer(f"same_{dtype}", inputs, outputs=outputs)
                found.append(result.as_numpy(f"out_{dtype}"))
            return found

    for dtype, array in zip(KINDS, asyncio.run(ask()), strict=True):
        assert same(dtype, array, values(dtype))


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_every_element_type_comes_back_from_a_model_without_batches(triton_client, binary):
    pairs = [request_of(dtype, values(dtype), binary=binary) for dtype in KINDS]
    inputs = [entry for inputs, _ in pairs for entry in inputs]
    outputs = [entry for _, outputs in pairs for entry in outputs]
    result = triton_client.infer("whole", inputs, outputs=outputs)
    for dtype in KINDS:
        assert same(dtype, result.as_numpy(f"out_{dtype}"), values(dtype))
    assert triton_client.get_model_config("whole")["max_batch_size"] == 0


BF16 = np.array([[1.0, -2.5, 0.0, 3.39e38], [-0.0, 1e-40, 1 / 3, -1.0]], dtype=ml_dtypes.bfloat16)


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
@pytest.mark.parametrize("model", ["cast", "whole_cast"])
def test_bfloat16_comes_back_bit_for_bit_and_as_the_same_numbers(triton_client, model, compression):
    given = triton.InferInput("x", [2, 4], "BF16")
    given.set_data_from_numpy(BF16, binary_data=True)
    result = triton_client.infer(
        model,
        [given],
        request_compression_algorithm=compression,
        response_compression_algorithm=compression,
    )
    assert result.as_numpy("back").tobytes() == BF16.tobytes()
    assert result.as_numpy("wide").tobytes() == BF16.astype(np.float32).tobytes()
    metadata = triton_client.get_model_metadata(model)
    assert metadata["inputs"][0]["datatype"] == "BF16"
    config = triton_client.get_model_config(model)
    assert config["input"][0]["data_type"] == "TYPE_BF16"


def bf16_body(bits: np.ndarray, **parameters) -> dict:
    content = bits.tobytes()
    entry = {"name": "x", "shape": list(bits.shape), "datatype": "BF16"}
    entry["parameters"] = {"binary_data_size": len(content)}
    head = json.dumps({"inputs": [entry], **parameters}).encode()
    return {
        "content": head + content,
        "headers": {"Inference-Header-Content-Length": str(len(head))},
    }


def test_bfloat16_has_no_form_in_json(client):
    url, bits = "/v2/models/cast/infer", BF16.view(np.uint16)
    entry = {"name": "x", "shape": [1, 4], "datatype": "BF16", "data": [1, 2, 3, 4]}
    answers = [
        client.post(url, json={"inputs": [entry]}),
        client.post(url, **bf16_body(bits)),  # the answer would be JSON
        client.post("/predict", json={"model": "cast", "inputs": {"x": [1, 2, 3, 4]}}),
    ]
    assert [answer.status_code for answer in answers] == [400] * 3
    wide = client.post(url, **bf16_body(bits, outputs=[{"name": "wide"}]))
    assert np.array(wide.json()["outputs"][0]["data"], np.float32).tobytes() == (
        BF16.astype(np.float32).tobytes()
    )


@pytest.mark.parametrize("bits", [0x7F80, 0xFF80, 0x7FC0])
def test_bfloat16_that_is_not_finite_is_answered_400(client, bits):
    array = np.array([[0x3F80, bits, 0, 0]], np.uint16)
    assert client.post("/v2/models/cast/infer", **bf16_body(array)).status_code == 400


def test_server_and_model_describe_themselves(triton_client):
    assert triton_client.is_server_live()
    assert triton_client.is_server_ready()
    assert triton_client.is_model_ready("double")
    metadata = triton_client.get_server_metadata()
    assert metadata["name"] == "trainyard"
    assert "statistics" in metadata["extensions"]
    model = triton_client.get_model_metadata("double")
    assert model["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    assert model["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [-1, 4]}]
    assert model["platform"] == "onnxruntime_onnx"
    version = model["versions"][0]
    assert triton_client.is_model_ready("double", version)
    config = triton_client.get_model_config("double", version)
    assert config["max_batch_size"] == 32
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [4]}]
    assert config["dynamic_batching"] == {}
    names = {model["name"] for model in triton_client.get_model_repository_index()}
    assert {"double", "shades", "log"} <= names


def test_the_index_takes_whether_to_list_only_what_is_ready_and_nothing_else(client):
    path = "/v2/repository/index"
    every = client.post(path).json()
    for body in ({"ready": True}, {"ready": False}, {}):
        assert client.post(path, json=body).json() == every
    assert client.post(path, json={"ready": "yes"}).status_code == 400
    assert "is not a field" in client.post(path, json={"steady": True}).json()["error"]
    assert client.post(path, content=b"ready").status_code == 400


def test_a_named_version_answers_and_another_does_not(triton_client):
    version = triton_client.get_model_metadata("double")["versions"][0]
    inputs = triton.InferInput("x", [1, 4], "FP32")
    inputs.set_data_from_numpy(np.ones((1, 4), np.float32))
    result = triton_client.infer("double", [inputs], model_version=version)
    assert result.as_numpy("y").tolist() == [[2.0] * 4]
    assert result.get_response()["model_version"] == version
    with pytest.raises(Exception, match=r"\[404\].*no version '7'"):
        triton_client.infer("double", [inputs], model_version="7")


def test_statistics_count_requests_samples_and_executions(server, triton_client):
    before = triton_client.get_inference_statistics("double")["model_stats"][0]
    inputs = triton.InferInput("x", [3, 4], "FP32")
    inputs.set_data_from_numpy(np.ones((3, 4), np.float32))
    for _ in range(5):
        triton_client.infer("double", [inputs])
    after = triton_client.get_inference_statistics("double")["model_stats"][0]
    assert after["inference_count"] - before["inference_count"] == 15
    assert after["execution_count"] - before["execution_count"] == 5
    success = after["inference_stats"]["success"]
    assert success["count"] - before["inference_stats"]["success"]["count"] == 5
    assert success["ns"] > before["inference_stats"]["success"]["ns"]
    assert after["last_inference"] > 1_600_000_000_000
    assert after["batch_stats"][-1]["batch_size"] == 3
    every = triton_client.get_inference_statistics()["model_stats"]
    assert len(every) == len(triton_client.get_model_repository_index())
    assert server.metric("nv_inference_count", model="double") == after["inference_count"]
    assert server.metric("nv_inference_pending_request_count", model="double") == 0


def test_a_batch_larger_than_one_run_is_answered_in_order(triton_client):
    array = np.arange(70 * 4, dtype=np.float32).reshape(70, 4)
    inputs = triton.InferInput("x", [70, 4], "FP32")
    inputs.set_data_from_numpy(array)
    assert np.array_equal(triton_client.infer("double", [inputs]).as_numpy("y"), array * 2)


def infer_body(**fields) -> dict:
    entry = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]} | fields
    return {"inputs": [{k: v for k, v in entry.items() if v is not None}]}


WRONG = {
    "negative size": infer_body(shape=[-1, 4]),
    "size that overflows": infer_body(shape=[2**31, 2**31, 2**31]),
    "huge size": infer_body(shape=[2**60, 4]),
    "size that is no integer": infer_body(shape=[1.0, 4]),
    "too few values": infer_body(data=[1, 2, 3]),
    "ragged": infer_body(data=[[1, 2], [3, 4, 5]]),
    "string for a number": infer_body(data=["1", 2, 3, 4]),
    "boolean for a number": infer_body(data=[True, 2, 3, 4]),
    "null for a number": infer_body(data=[None, 2, 3, 4]),
    "number that overflows": infer_body(data=[1e39, 2, 3, 4]),
    "empty batch": infer_body(shape=[0, 4], data=[]),
    "other datatype": infer_body(datatype="FP64"),
    "no datatype": infer_body(datatype=None),
    "no data": infer_body(data=None),
    "other rank": infer_body(shape=[4]),
    "unknown input": infer_body(name="z"),
    "no inputs": {},
    "inputs that are no list": {"inputs": {"x": 1}},
    "input that is no object": {"inputs": [1]},
    "given twice": {"inputs": infer_body()["inputs"] * 2},
    "unknown output": infer_body() | {"outputs": [{"name": "z"}]},
    "output given twice": infer_body() | {"outputs": [{"name": "y"}, {"name": "y"}]},
    "unknown field of an output": infer_body() | {"outputs": [{"name": "y", "datatype": "FP32"}]},
    "unknown field": infer_body() | {"inpts": 1},
    "id that is no string": infer_body() | {"id": 7},
    "timeout below zero": infer_body() | {"parameters": {"timeout": -1}},
    "parameters that are no object": infer_body() | {"parameters": []},
    "data and bytes": infer_body(parameters={"binary_data_size": 16}),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_is_answered_400_in_the_protocols_shape(client, case):
    response = client.post("/v2/models/double/infer", json=WRONG[case])
    assert response.status_code == 400, response.text
    assert set(response.json()) == {"error"}
    assert isinstance(response.json()["error"], str)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b"[" * 90_000, b'{"inputs": [' * 5000])
def test_malformed_json_is_answered_400(client, body):
    response = client.post("/v2/models/double/infer", content=body)
    assert response.status_code == 400
    assert set(response.json()) == {"error"}


def binary_body(array: np.ndarray, **parameters) -> tuple[bytes, int]:
    content = array.tobytes()
    entry = {"name": "x", "shape": list(array.shape), "datatype": "FP32"}
    entry["parameters"] = {"binary_data_size": len(content)} | parameters
    head = json.dumps({"inputs": [entry]}).encode()
    return head + content, len(head)


ONES = np.ones((1, 4), np.float32)


@pytest.mark.parametrize(
    "length", ["104abc", "104.5", "-1", "0", "", "99999999999999999999", "1e2", "0x10", "²"]
)
def test_a_wrong_header_length_is_answered_400(client, length):
    body, _ = binary_body(ONES)
    headers = {b"Inference-Header-Content-Length": length.encode()}
    response = client.post("/v2/models/double/infer", content=body, headers=headers)
    assert response.status_code == 400, response.text


@pytest.mark.parametrize("change", [-1, 1, 7])
def test_missing_or_leftover_bytes_are_answered_400(client, change):
    body, length = binary_body(ONES)
    body = body[:change] if change < 0 else body + bytes(change)
    headers = {"Inference-Header-Content-Length": str(length)}
    response = client.post("/v2/models/double/infer", content=body, headers=headers)
    assert response.status_code == 400
    assert "bytes" in response.json()["error"]


def test_a_header_length_that_cuts_the_json_is_answered_400(client):
    body, length = binary_body(ONES)
    headers = {"Inference-Header-Content-Length": str(length - 3)}
    assert client.post("/v2/models/double/infer", content=body, headers=headers).status_code == 400


@pytest.mark.parametrize(
    ("dtype", "number"), [("int32", 2**31), ("int8", 300), ("uint8", -1), ("int64", 2**63)]
)
def test_an_integer_that_would_wrap_is_answered_400(client, dtype, number):
    entry = {"name": f"in_{dtype}", "shape": [1, 2, 3], "datatype": datatype(dtype)}
    body = {"inputs": [entry | {"data": [number, 0, 0, 0, 0, 0]}]}
    assert client.post(f"/v2/models/same_{dtype}/infer", json=body).status_code == 400


def test_strings_that_are_not_utf8_are_answered_400(client):
    content = struct.pack("<I", 2) + b"\xff\xfe" + struct.pack("<I", 0) * 5
    head = json.dumps(
        {"inputs": [{"name": "in_string", "shape": [1, 2, 3], "datatype": "BYTES",
                     "parameters": {"binary_data_size": len(content)}}]}
    ).encode()  # fmt: skip
    response = client.post(
        "/v2/models/same_string/infer",
        content=head + content,
        headers={"Inference-Header-Content-Length": str(len(head))},
    )
    assert response.status_code == 400
    assert "UTF-8" in response.json()["error"]


def test_a_gzip_bomb_is_answered_413(client):
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < 100_000
    headers = {"Content-Encoding": "gzip"}
    response = client.post("/v2/models/double/infer", content=bomb, headers=headers)
    assert response.status_code == 413
    assert client.get("/v2/health/live").status_code == 200


@pytest.mark.parametrize(
    ("encoding", "status"),
    [("br", 415), ("gzip, gzip", 415), ("gzip\nbr", 415), ("gzip", 400), ("deflate", 400)],
)
def test_a_body_of_another_encoding_is_refused(client, encoding, status):
    body = json.dumps(infer_body()).encode()
    headers = [("Content-Encoding", line) for line in encoding.split("\n")]
    response = client.post("/v2/models/double/infer", content=body, headers=headers)
    assert response.status_code == status
    assert set(response.json()) == {"error"}


@pytest.mark.parametrize("wbits", [zlib.MAX_WBITS, -zlib.MAX_WBITS])
def test_both_forms_of_deflate_are_read(client, wbits):
    deflater = zlib.compressobj(wbits=wbits)
    body = deflater.compress(json.dumps(infer_body()).encode()) + deflater.flush()
    headers = {"Content-Encoding": "deflate"}
    response = client.post("/v2/models/double/infer", content=body, headers=headers)
    assert response.status_code == 200, response.text
    assert response.json()["outputs"][0]["data"] == [2.0, 4.0, 6.0, 8.0]


def test_compressed_bodies_of_predict_are_read_too(client):
    body = gzip.compress(b'{"model": "double", "inputs": {"x": [1, 2, 3, 4]}}')
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    response = client.post("/predict", content=body, headers=headers)
    assert response.json()["outputs"] == {"y": [2.0, 4.0, 6.0, 8.0]}


def test_an_answer_that_is_not_finite_needs_bytes(client):
    entry = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [0.0, 1.0]}
    response = client.post("/v2/models/log/infer", json={"inputs": [entry]})
    assert response.status_code == 400
    assert "binary_data" in response.json()["error"]
    document = {"inputs": [entry], "parameters": {"binary_data_output": True}}
    response = client.post("/v2/models/log/infer", json=document)
    length = int(response.headers["Inference-Header-Content-Length"])
    found = np.frombuffer(response.content[length:], np.float32)
    assert found.tolist() == [-np.inf, 0.0]


def test_an_outputs_own_choice_beats_the_requests(client):
    document = infer_body() | {
        "parameters": {"binary_data_output": True},
        "outputs": [{"name": "y", "parameters": {"binary_data": False}}],
    }
    response = client.post("/v2/models/double/infer", json=document)
    assert response.json()["outputs"][0]["data"] == [2.0, 4.0, 6.0, 8.0]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/nobody", 404),
        ("GET", "/v2/models/nobody/ready", 404),
        ("POST", "/v2/models/nobody/infer", 404),
        ("GET", "/v2/models/double/versions/9/config", 404),
        ("GET", "/v2/nothing", 404),
        ("GET", "/v2/models/double/infer", 405),
        ("GET", "/v2/systemsharedmemory/status", 501),
        ("POST", "/v2/cudasharedmemory/region/a/register", 501),
        ("GET", "/v2/trace/setting", 501),
        ("GET", "/v2/logging", 501),
        ("POST", "/v2/repository/models/double/unload", 403),
    ],
)
def test_what_is_not_here_says_so_in_the_protocols_shape(client, method, path, status):
    response = client.request(method, path)
    assert response.status_code == status
    assert set(response.json()) == {"error"}


@pytest.mark.parametrize("name", ["classification", "sequence_id"])
def test_an_extension_that_would_change_the_answer_is_answered_501(client, name):
    document = infer_body() | {"parameters": {name: 3}}
    assert client.post("/v2/models/double/infer", json=document).status_code == 501


def test_requests_may_follow_an_error_on_the_same_connection(server):
    with httpx.Client(base_url=server.url, timeout=10, verify=False) as client:
        for _ in range(3):
            assert client.post("/v2/models/double/infer", json={}).status_code == 400
            assert client.post("/v2/models/double/infer", json=infer_body()).status_code == 200
