"""Make the bucket of MLflow's artifacts, unless it is there."""

from __future__ import annotations

import os

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
        client.create_bucket(Bucket=bucket)
        print(f"made the bucket {bucket}")


if __name__ == "__main__":
    main()
