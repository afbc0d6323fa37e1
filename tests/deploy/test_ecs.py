"""The files of deploy/ecs, registered through AWS's client and read by cfn-lint."""

from __future__ import annotations

import json
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import moto
import pytest

from tests.deploy.manifests import IMAGE_PORT, IMAGE_USER, check_settings, drain_seconds

ECS = Path(__file__).resolve().parents[2] / "deploy" / "ecs"
REGION = "eu-central-1"
VALUES = {
    "AWS_ACCOUNT": "123456789012",
    "AWS_REGION": REGION,
    "IMAGE": f"123456789012.dkr.ecr.{REGION}.amazonaws.com/trainyard-serve:0.1.0",
    "MLFLOW_TRACKING_URI": "http://mlflow.internal:5000",
    "CLUSTER": "shop",
    "SUBNET_A": "subnet-0123456789abcdef0",
    "SUBNET_B": "subnet-0123456789abcdef1",
    "SECURITY_GROUP": "sg-0123456789abcdef0",
    "TARGET_GROUP_ARN": f"arn:aws:elasticloadbalancing:{REGION}:123456789012"
    ":targetgroup/serve/0123456789abcdef",
}
AS_THEY_ARE = {"options"}
"""Fields that hold names of somebody else's."""


def read(name: str, **values: str) -> dict[str, Any]:
    """With the variables filled in, all of them."""
    return json.loads(string.Template((ECS / name).read_text()).substitute(VALUES | values))


def recased(value: Any) -> Any:
    """CloudFormation writes in CamelCase what ECS's own API writes in camelCase."""
    if isinstance(value, list):
        return [recased(item) for item in value]
    if isinstance(value, dict):
        return {
            name[0].upper() + name[1:]: item if name in AS_THEY_ARE else recased(item)
            for name, item in value.items()
        }
    return value


def network() -> dict[str, str]:
    """Two subnets and a security group, which moto knows."""
    ec2 = boto3.client("ec2", region_name=REGION)
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    group = ec2.create_security_group(GroupName="serve", Description="serve", VpcId=vpc)
    subnets = {
        f"SUBNET_{zone.upper()}": ec2.create_subnet(
            VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"{REGION}{zone}"
        )["Subnet"]["SubnetId"]
        for number, zone in enumerate("ab")
    }
    return {**subnets, "SECURITY_GROUP": group["GroupId"]}


@pytest.fixture
def container() -> dict[str, Any]:
    [container] = read("task-definition.json")["containerDefinitions"]
    return container


def test_ecs_registers_the_task_and_starts_the_service(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with moto.mock_aws():
        client = boto3.client("ecs", region_name=REGION)
        task = client.register_task_definition(**read("task-definition.json"))["taskDefinition"]
        client.create_cluster(clusterName=VALUES["CLUSTER"])
        service = client.create_service(**read("service.json", **network()))["service"]
    assert (task["family"], task["revision"], task["status"]) == ("trainyard-serve", 1, "ACTIVE")
    assert service["taskDefinition"] == task["taskDefinitionArn"]
    assert service["desiredCount"] == 2


def test_cloudformation_has_nothing_against_them(tmp_path):
    service = recased(read("service.json"))
    service["TaskDefinition"] = {"Ref": "Task"}
    template = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Resources": {
            "Task": {
                "Type": "AWS::ECS::TaskDefinition",
                "Properties": recased(read("task-definition.json")),
            },
            "Service": {"Type": "AWS::ECS::Service", "Properties": service},
        },
    }
    path = tmp_path / "template.json"
    path.write_text(json.dumps(template))
    lint = Path(sys.executable).with_name("cfn-lint")
    command = [lint, "--regions", REGION, "--include-checks", "I", "--", path]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_the_task_runs_the_image_as_it_was_built(container):
    assert container["user"] == f"{IMAGE_USER}:{IMAGE_USER}"
    assert [mapping["containerPort"] for mapping in container["portMappings"]] == [IMAGE_PORT]
    [balancer] = read("service.json")["loadBalancers"]
    assert (balancer["containerName"], balancer["containerPort"]) == (container["name"], IMAGE_PORT)
    assert container["readonlyRootFilesystem"] is True
    [mount] = container["mountPoints"]
    assert mount["containerPath"] == "/var/cache/trainyard"


def test_what_has_to_be_there_before_the_task_is_in_the_documentation(container):
    task = read("task-definition.json")
    page = (ECS.parents[1] / "docs" / "deploy-kubernetes.md").read_text(encoding="utf-8")
    for role in ("executionRoleArn", "taskRoleArn"):
        assert f"`{task[role].rpartition('/')[2]}`" in page
    assert f"--log-group-name {container['logConfiguration']['options']['awslogs-group']}`" in page


def test_every_setting_exists_and_has_a_value_that_the_server_takes(container):
    environment = {entry["name"]: entry["value"] for entry in container["environment"]}
    secrets = {entry["name"]: "shop:predict:0123456789abcdef" for entry in container["secrets"]}
    check_settings(environment | secrets)


def test_the_task_is_given_the_time_that_it_drains(container):
    environment = {entry["name"]: entry["value"] for entry in container["environment"]}
    assert container["stopTimeout"] > drain_seconds(environment)
