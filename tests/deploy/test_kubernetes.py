"""The manifests of deploy/kubernetes, built by kustomize and held against Kubernetes' schemas."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
import yaml

from bundle.errors import Stopped
from deploy.kubernetes import prometheus_rule
from serving.routes.probes import probe_endpoints
from tests.deploy.absence import absent
from tests.deploy.manifests import (
    IMAGE_PORT,
    IMAGE_USER,
    ROOT,
    check_settings,
    drain_seconds,
)
from tests.docs.markdown import page
from trainer.compose import compose
from trainer.launching.rendezvous import Meeting, node_rank
from trainer.schema import register_schemas

KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("overlays/cpu", "overlays/gpu")
TRAINING = ("training/job", "training/indexed-job", "training/indexed-job-gpu")
VERSIONS = ("1.29", kubernetes_validate.latest_version())
"""The oldest that is supported, and the newest that there is a schema of."""
FOREIGN = {"PrometheusRule", "ServiceMonitor"}
"""Kinds of the Prometheus operator, which Kubernetes' schemas do not have."""
PROBES = {"startup": "/health/startup", "readiness": "/health/ready", "liveness": "/health/live"}

Manifest = dict[str, Any]


@cache
def built(folder: str) -> list[Manifest]:
    """What `kubectl apply -k` would send."""
    if shutil.which("kubectl") is None:
        absent("kubectl is not installed")
    command = ["kubectl", "kustomize", str(KUBERNETES / folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "kustomize warns"
    return list(yaml.safe_load_all(done.stdout))


def one(folder: str, kind: str) -> Manifest:
    """The only manifest of the kind."""
    [found] = [manifest for manifest in built(folder) if manifest["kind"] == kind]
    return found


def pod(folder: str) -> Manifest:
    """The pod of its Deployment or Job."""
    [owner] = [item for item in built(folder) if item["kind"] in {"Deployment", "Job"}]
    return owner["spec"]["template"]["spec"]


def environment(folder: str) -> dict[str, str]:
    """What the container is given by name and by ConfigMap."""
    [container] = pod(folder)["containers"]
    config = one(folder, "ConfigMap")
    names = [
        source["configMapRef"]["name"]
        for source in container["envFrom"]
        if "configMapRef" in source
    ]
    assert names == [config["metadata"]["name"]]
    return dict(config["data"])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", [*OVERLAYS, *TRAINING])
def test_kubernetes_knows_every_field(folder, version):
    for manifest in built(folder):
        if manifest["kind"] not in FOREIGN:
            kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("folder", [*OVERLAYS, *TRAINING])
def test_pods_meet_the_restricted_standard_and_know_their_size(folder):
    spec = pod(folder)
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == IMAGE_USER
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in [*spec["containers"], *spec.get("initContainers", ())]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]
        tag = container["image"].partition(":")[2]
        assert re.fullmatch(r"\d+\.\d+\.\d+(-gpu)?", tag)
        assert tag.endswith("-gpu") == folder.endswith("gpu")


@pytest.mark.parametrize("folder", OVERLAYS)
def test_services_budgets_scalers_policies_and_monitors_mean_these_pods(folder):
    deployment = one(folder, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        one(folder, "Service")["spec"]["selector"],
        one(folder, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        one(folder, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(
            constraint["labelSelector"]["matchLabels"]
            for constraint in pod(folder)["topologySpreadConstraints"]
        ),
    ]
    for selector in selectors:
        assert selector
        assert selector.items() <= labels.items()
    monitor = one(folder, "ServiceMonitor")
    service = one(folder, "Service")
    wanted = monitor["spec"]["selector"]["matchLabels"]
    assert wanted.items() <= service["metadata"]["labels"].items()
    assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "trainyard"
    target = one(folder, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    assert "replicas" not in deployment["spec"], "the scaler's"


@pytest.mark.parametrize("folder", [*OVERLAYS, *TRAINING])
def test_policies_name_their_peers_by_the_labels_that_those_have(folder):
    policy = one(folder, "NetworkPolicy")["spec"]
    names = {"podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}
    [resolver] = [
        rule
        for rule in policy["egress"]
        if {"port": 53, "protocol": "UDP"} in rule.get("ports", ())
    ]
    assert [peer.items() >= names.items() for peer in resolver["to"]] == [True]
    asking = [
        peer["podSelector"]["matchLabels"]
        for peer in policy["ingress"][0]["from"]
        if "podSelector" in peer
    ]
    pods = policy["podSelector"]["matchLabels"]
    assert asking == ([{"trainyard/client": "true"}] if folder in OVERLAYS else [pods])


@pytest.mark.parametrize("folder", OVERLAYS)
def test_ports_lead_to_the_server(folder):
    [container] = pod(folder)["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": IMAGE_PORT}
    asked = [one(folder, "Service")["spec"]["ports"][0]["targetPort"]]
    asked += [one(folder, "ServiceMonitor")["spec"]["endpoints"][0]["port"]]
    asked += [one(folder, "NetworkPolicy")["spec"]["ingress"][0]["ports"][0]["port"]]
    asked += [container[f"{probe}Probe"]["httpGet"]["port"] for probe in PROBES]
    assert set(asked) == ports.keys()


@pytest.mark.parametrize("folder", OVERLAYS)
def test_each_probe_asks_the_path_that_is_meant_for_it(folder):
    [container] = pod(folder)["containers"]
    paths = {probe: container[f"{probe}Probe"]["httpGet"]["path"] for probe in PROBES}
    assert paths == PROBES
    served = {endpoint.path for endpoint in probe_endpoints(*[None] * 3)}
    assert set(paths.values()) <= served


@pytest.mark.parametrize("folder", OVERLAYS)
def test_every_setting_exists_and_has_a_value_that_the_server_takes(folder):
    check_settings(environment(folder))


@pytest.mark.parametrize("folder", OVERLAYS)
def test_a_pod_is_given_the_time_that_it_drains(folder):
    [container] = pod(folder)["containers"]
    name, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert name == "sleep"
    needed = int(seconds) + drain_seconds(environment(folder))
    assert pod(folder)["terminationGracePeriodSeconds"] > needed


def test_the_pod_of_the_serving_page_is_given_the_time_that_it_drains():
    [block] = [block for block in page("docs/serving.md").blocks if block.language == "yaml"]
    pod = yaml.safe_load(block.text)
    arguments = iter(pod["containers"][0]["args"])
    delays = [next(arguments) for argument in arguments if argument == "--drain-delay-ms"]
    needed = drain_seconds({"TRAINYARD_DRAIN_DELAY_MS": delays[0]})
    assert pod["terminationGracePeriodSeconds"] > needed


@pytest.mark.parametrize("folder", OVERLAYS)
def test_what_the_server_writes_and_reads_is_mounted(folder):
    [container] = pod(folder)["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"] for volume in pod(folder)["volumes"]}
    assert set(mounts.values()) == volumes
    assert {"/var/cache/trainyard", "/tmp"} <= mounts.keys()
    keys = environment(folder)["TRAINYARD_API_KEYS_FILE"]
    assert keys.rpartition("/")[0] in mounts


def test_the_operator_is_given_the_rules_that_are_tested():
    written = prometheus_rule.TARGET.read_text()
    assert written == prometheus_rule.manifest(), "run python -m deploy.kubernetes.prometheus_rule"
    groups = one("overlays/cpu", "PrometheusRule")["spec"]["groups"]
    assert [rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule]


def test_the_scaler_asks_for_what_the_adapter_offers():
    config = yaml.safe_load((KUBERNETES / "prometheus-adapter" / "config.yaml").read_text())
    offered = [rule["name"]["as"] for rule in config["rules"]]
    for folder in OVERLAYS:
        metrics = one(folder, "HorizontalPodAutoscaler")["spec"]["metrics"]
        assert [metric["pods"]["metric"]["name"] for metric in metrics] == offered


def arguments(folder: str, *, index: int = 0) -> list[str]:
    """Of the training container, as the kubelet fills them in."""
    [container] = pod(folder)["containers"]
    known = {**environment(folder), "JOB_COMPLETION_INDEX": str(index)}
    defined = {entry["name"] for entry in container.get("env", ())} | environment(folder).keys()
    named = set(re.findall(r"\$\((\w+)\)", " ".join(container["args"])))
    assert named <= defined
    return [re.sub(r"\$\((\w+)\)", lambda m: known[m[1]], item) for item in container["args"]]


@pytest.mark.parametrize("folder", TRAINING)
def test_the_trainer_takes_the_arguments(folder):
    cfg = compose("train", arguments(folder), schemas=register_schemas)
    gpus = pod(folder)["containers"][0]["resources"]["limits"].get("nvidia.com/gpu")
    assert str(cfg.trainer.devices) == (gpus or "1")
    assert pod(folder)["terminationGracePeriodSeconds"] > cfg.trainer.stop_timeout


def test_the_machines_of_an_indexed_job_meet_at_the_first():
    job = one("training/indexed-job", "Job")
    name, nodes = job["metadata"]["name"], job["spec"]["completions"]
    assert job["spec"]["completionMode"] == "Indexed"
    assert job["spec"]["parallelism"] == nodes
    service = one("training/indexed-job", "Service")
    assert service["metadata"]["name"] == pod("training/indexed-job")["subdomain"]
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}
    assert service["spec"]["publishNotReadyAddresses"] is True
    first = f"{name}-0.{service['metadata']['name']}"
    assert f"first={first}\n" in pod("training/indexed-job")["initContainers"][0]["args"][0]
    for index in range(nodes):
        given = arguments("training/indexed-job", index=index)
        cfg = compose("train", given, schemas=register_schemas)
        assert (cfg.trainer.num_nodes, node_rank(cfg)) == (nodes, index)
        port = service["spec"]["ports"][0]["port"]
        assert cfg.trainer.rendezvous == f"{first}:{port}"
        cfg.trainer.rendezvous = f"127.0.0.1:{port}"
        assert Meeting.plan(cfg).is_host == (index == 0)


def action(folder: str, *, code: int, drained: bool) -> str:
    """What the Job's policy makes of a pod that ended so; `Count` where no rule is for it."""
    job = one(folder, "Job")
    [container] = pod(folder)["containers"]
    for rule in job["spec"]["podFailurePolicy"]["rules"]:
        if codes := rule.get("onExitCodes"):
            assert (codes["containerName"], codes["operator"]) == (container["name"], "In")
            applies = code in codes["values"]
        else:
            assert rule["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
            applies = drained
        if applies:
            return rule["action"]
    return "Count"


@pytest.mark.parametrize("folder", TRAINING)
def test_a_wrong_config_fails_the_job_a_crash_is_counted_and_a_drain_is_not(folder):
    assert action(folder, code=2, drained=False) == "FailJob"
    assert action(folder, code=1, drained=False) == "Count"
    assert action(folder, code=137, drained=True) == "Ignore"
    assert action(folder, code=143, drained=True) == "Ignore"


@pytest.mark.parametrize("folder", TRAINING[1:])
def test_machines_that_stop_because_another_was_drained_are_not_counted(folder):
    assert action(folder, code=Stopped.exit_code, drained=False) == "Ignore"


@pytest.mark.parametrize("known", [True, False])
def test_a_machine_waits_for_the_name_of_the_first_but_not_for_ever(tmp_path, known):
    [waiting] = pod("training/indexed-job")["initContainers"]
    getent = tmp_path / "getent"
    getent.write_text(f"#!/bin/sh\nexit {0 if known else 2}\n")
    getent.chmod(0o755)
    [script] = waiting["args"]
    done = subprocess.run(
        [*waiting["command"], script.replace("timeout 900", "timeout 1")],
        check=False, capture_output=True, text=True, timeout=30,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    )  # fmt: skip
    first = "trainyard-train-nodes-0.trainyard-train-nodes"
    assert done.returncode == (0 if known else 1)
    assert (f"error: {first} has no address" in done.stderr) is not known
