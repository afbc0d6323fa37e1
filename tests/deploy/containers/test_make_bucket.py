"""The bucket of MLflow's artifacts, made in S3 as moto has it."""

from __future__ import annotations

import boto3
import moto
import pytest

from deploy.compose.make_bucket import main


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
def test_bucket_is_made_once_and_where_it_is_wanted(monkeypatch, capsys, region):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    monkeypatch.setenv("BUCKET", "artifacts")
    with moto.mock_aws():
        for said in ("made the bucket artifacts\n", "the bucket artifacts is there\n"):
            main()
            assert capsys.readouterr().out == said
        found = boto3.client("s3").head_bucket(Bucket="artifacts")
    assert found["BucketRegion"] == region
