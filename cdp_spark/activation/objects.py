"""Where do manifest and pointer lie? Whole small objects by key on a local disk or in S3. The only user of boto3."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from cdp_spark.config.models import S3

CHUNK = 1 << 20
PART = 8 << 20  # bytes above which an object is put in parts: it appears whole, when the last one is there
WRONG_KEYS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "InvalidClientTokenId", "403"}


class DeliveryError(Exception):
    """A delivery cannot be made. Names the place, the setting and the remedy; never a secret, never a row's value.

    refused: rows that a receiver had refused before it failed as a whole.
    """

    exit_code = 2
    refused: Sequence = ()


class Digest(NamedTuple):
    bytes: int
    sha256: str


class Objects(Protocol):
    """Objects below one root."""

    def get(self, key: str) -> bytes | None: ...
    def put(self, key: str, body: bytes) -> None: ...
    def digest(self, key: str) -> Digest: ...


def objects(root: str, s3: S3) -> Objects:
    """The objects below `root`: an absolute path or s3a://bucket/prefix. Raises DeliveryError for other schemes."""
    if root.startswith("s3a://"):
        return Bucket(root, s3)
    if "://" in root and not root.startswith("file://"):
        raise DeliveryError(f"exports {root}: deliveries go to a local path or s3a://; set `exports:` in conf/env")
    return Folder(root)


def summed(chunks) -> Digest:
    size, found = 0, hashlib.sha256()
    for chunk in chunks:
        size += len(chunk)
        found.update(chunk)
    return Digest(size, found.hexdigest())


class Folder:
    """Files below a local folder, each put whole by a rename."""

    def __init__(self, root: str):
        self.root = Path(root.removeprefix("file://"))

    def get(self, key: str) -> bytes | None:
        path = self.root / key
        return path.read_bytes() if path.is_file() else None

    def put(self, key: str, body: bytes) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.write_bytes(body)
        part.replace(path)

    def digest(self, key: str) -> Digest:
        with (self.root / key).open("rb") as file:
            return summed(iter(lambda: file.read(CHUNK), b""))


class Bucket:
    """Objects below a prefix of an S3 bucket, reached as conf/env says under `s3`."""

    def __init__(self, root: str, s3: S3):
        self.bucket, _, self.prefix = root.removeprefix("s3a://").rstrip("/").partition("/")
        self.s3 = s3
        self.client = _client(s3)
        self._asked = {"ChecksumAlgorithm": s3.checksum} if s3.checksum != "none" else {}
        self._asked |= {"ServerSideEncryption": s3.encryption} if s3.encryption else {}
        self._asked |= {"SSEKMSKeyId": s3.kms_key} if s3.kms_key else {}

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    def _call(self, method: str, key: str, **more):
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return getattr(self.client, method)(Bucket=self.bucket, Key=self._key(key), **more)
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                return None
            raise self._refused(error.response["Error"]["Code"]) from None
        except BotoCoreError as error:
            raise self._unreachable(type(error).__name__) from None

    def get(self, key: str) -> bytes | None:
        found = self._call("get_object", key)
        return found["Body"].read() if found else None

    def put(self, key: str, body: bytes) -> None:
        about = {"ContentType": "application/json"} | self._asked
        if len(body) <= PART:
            self._call("put_object", key, Body=body, **about)
            return
        from boto3.s3.transfer import TransferConfig

        parts = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)
        self._call("upload_fileobj", key, Fileobj=io.BytesIO(body), ExtraArgs=about, Config=parts)

    def digest(self, key: str) -> Digest:
        """Of what the store keeps: its own SHA-256 where it has one of the whole object, else its bytes are read."""
        head = self._call("head_object", key, ChecksumMode="ENABLED") or {}
        own = head.get("ChecksumSHA256", "")
        if own and "-" not in own + head["ETag"]:  # with a dash: put in parts, so that it is a hash of their hashes
            return Digest(head["ContentLength"], base64.b64decode(own).hex())
        found = self._call("get_object", key)
        if found is None:
            raise DeliveryError(f"s3a://{self.bucket}/{self._key(key)}: written a moment ago, and gone; deliver again")
        return summed(found["Body"].iter_chunks(CHUNK))

    @property
    def _where(self) -> str:
        return f"S3 endpoint {self.s3.endpoint or f'of AWS ({self.s3.region})'}, bucket {self.bucket}"

    def _refused(self, code: str) -> DeliveryError:
        keys = f"{self.s3.access_key_env} and {self.s3.secret_key_env}"
        if code in WRONG_KEYS:
            return DeliveryError(
                f"{self._where}: credentials refused ({code}). Check the environment variables {keys} (named by "
                "s3.access_key_env and s3.secret_key_env in conf/env/<name>.yml) and what they may do in this bucket"
            )
        remedy = "create it or correct `exports:` in conf/env/<name>.yml" if code == "NoSuchBucket" else "try again"
        return DeliveryError(f"{self._where}: the request failed ({code}); {remedy}")

    def _unreachable(self, kind: str) -> DeliveryError:
        if kind in ("NoCredentialsError", "PartialCredentialsError"):
            names = f"{self.s3.access_key_env} and {self.s3.secret_key_env}"
            return DeliveryError(f"{self._where}: no credentials; set the environment variables {names}")
        return DeliveryError(
            f"{self._where}: cannot be reached ({kind}, {self.s3.attempts} attempts of at most "
            f"{self.s3.timeout_seconds} s). Check `s3.endpoint` in conf/env/<name>.yml and that the server runs"
        )


def _client(s3: S3):
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=s3.timeout_seconds,
        read_timeout=s3.timeout_seconds,
        retries={"total_max_attempts": s3.attempts, "mode": "standard"},
        s3={"addressing_style": "path" if s3.path_style else "auto"},
    )
    return boto3.client(
        "s3",
        endpoint_url=s3.endpoint,
        region_name=s3.region,
        aws_access_key_id=os.environ.get(s3.access_key_env),
        aws_secret_access_key=os.environ.get(s3.secret_key_env),
        config=config,
    )
