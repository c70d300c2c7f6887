"""What must an S3 account allow, at least, for deliveries to be made or fetched?"""

from __future__ import annotations

import click

READ, WRITE = ["s3:GetObject"], ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
# What S3 asks of a key on behalf of who puts (in parts, too) and who gets.
READ_KEY, WRITE_KEY = ["kms:Decrypt"], ["kms:Decrypt", "kms:GenerateDataKey"]


def policy(exports: str, *, reader: bool, kms_key: str | None = None) -> dict:
    """An IAM policy document for deliveries below s3://bucket/prefix.

    A writer may also delete: Spark's committer removes its own temporary files, and old deliveries expire. Actions:
    AWS, "Actions, resources, and condition keys for Amazon S3" and "Using server-side encryption with AWS KMS keys".
    Raises click.BadParameter for no S3 address.
    """
    scheme, _, rest = exports.partition("://")
    bucket, _, prefix = rest.rstrip("/").partition("/")
    if scheme not in ("s3", "s3a") or not bucket:
        raise click.BadParameter(f"{exports!r} is no s3://bucket/prefix")
    below = f"{prefix}/*" if prefix else "*"
    listing = {"StringLike": {"s3:prefix": [below, prefix] if prefix else [below]}}
    found = [
        {"Sid": "List", "Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [f"arn:aws:s3:::{bucket}"],
         "Condition": listing},
        {"Sid": "Objects", "Effect": "Allow", "Action": READ if reader else WRITE,
         "Resource": [f"arn:aws:s3:::{bucket}/{below}"]},
    ]  # fmt: skip
    if kms_key:
        actions = READ_KEY if reader else WRITE_KEY
        found.append({"Sid": "Key", "Effect": "Allow", "Action": actions, "Resource": [kms_key]})
    return {"Version": "2012-10-17", "Statement": found}
