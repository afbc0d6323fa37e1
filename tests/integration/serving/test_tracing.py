"""Spans as an OTLP receiver gets them from the real server."""

from __future__ import annotations

from tests.otlp_receiver import attributes, otlp_receiver
from tests.running_server import eventually, running_server

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
BODY = {"inputs": {"x": [1, 2, 3, 4]}}


def test_a_request_is_a_span_of_its_clients_trace_with_one_for_each_phase(bundles, tmp_path):
    with otlp_receiver() as receiver:
        with (
            running_server(
                *("--model", str(bundles / "double.onnx"), "--threads", "1"),
                *("--otlp-endpoint", receiver.url),
                folder=tmp_path,
                environment={"OTEL_SERVICE_NAME": "shop"},
            ) as server,
            server.client() as client,
        ):
            headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-Id": "mine"}
            assert client.post("/predict", json=BODY, headers=headers).status_code == 200
            assert client.post("/predict", json={}).status_code == 400
        # The server has stopped: what it had not sent yet it sent on its way out.
        assert receiver.services == {"shop"}
        [request] = [
            s for s in receiver.spans if attributes(s).get("trainyard.request_id") == "mine"
        ]
        assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, PARENT)
        assert request.kind == request.SPAN_KIND_SERVER
        assert request.name == "POST /predict"
        found = attributes(request)
        assert found["http.response.status_code"] == 200
        assert (found["http.route"], found["trainyard.model"]) == ("/predict", "double")
        assert found["trainyard.samples"] == 1
        below = [s for s in receiver.spans if s.parent_span_id == request.span_id]
        assert [span.name for span in below] == ["decode", "queue", "infer", "encode"]
        assert {span.trace_id.hex() for span in below} == {TRACE}
        assert {attributes(span)["trainyard.version"] for span in below} == {
            found["trainyard.version"]
        }
        times = [(s.start_time_unix_nano, s.end_time_unix_nano) for s in below]
        assert times == sorted(times)
        assert request.start_time_unix_nano <= times[0][0]
        assert times[-1][1] <= request.end_time_unix_nano
        [refused] = [s for s in receiver.spans if attributes(s).get("error.type")]
        assert attributes(refused)["error.type"] == "missing_field"
        assert refused.trace_id != request.trace_id


def test_a_receiver_that_is_away_changes_no_answer_and_holds_up_no_stop(bundles, tmp_path):
    with (
        running_server(
            *("--model", str(bundles / "double.onnx"), "--threads", "1"),
            folder=tmp_path,
            environment={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
        ) as server,
        server.client() as client,
    ):
        for _ in range(5):
            assert client.post("/predict", json=BODY).status_code == 200
        server.signal(15)
        eventually(lambda: server.process.poll() is not None)
        assert server.wait() == 0
