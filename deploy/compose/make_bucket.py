"""Make the bucket of MLflow's artifacts, unless it is there."""

from __future__ import annotations

import os
from typing import Any

import boto3
from botocore.exceptions import ClientError


def main() -> None:
    """The address, the key and the bucket's name are in the environment."""
    bucket = os.environ["BUCKET"]
    client = boto3.client("s3")
    try:
        client.head_bucket(Bucket=bucket)
        print(f"the bucket {bucket} is there")
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        client.create_bucket(Bucket=bucket, **_place(client.meta.region_name))
        print(f"made the bucket {bucket}")


def _place(region: str) -> dict[str, Any]:
    """S3 wants to be told every region but its first, and refuses to be told that one."""
    if region == "us-east-1":
        return {}
    return {"CreateBucketConfiguration": {"LocationConstraint": region}}


if __name__ == "__main__":
    main()
