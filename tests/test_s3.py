"""Deliveries in S3: what a reader finds who knows the pointer only, and what a store that fails leaves behind."""

from __future__ import annotations

import base64
import hashlib
from datetime import timedelta

import pytest
from pyspark.sql import functions as F

from cdp_spark.activation import objects
from cdp_spark.activation.deliver import deliver_all
from cdp_spark.activation.objects import Bucket, DeliveryError
from cdp_spark.config.models import S3
from cdp_spark.session import s3_settings
from cdp_spark.storage import Storage, StorageError
from jobs import audiences as audiences_job
from tests.forty import DAY, PEOPLE, on, says, sha, with_destinations
from tests.processes import free_port
from tests.reader import holds, manifests
from tests.stores import client, on_s3, proxy, serve


@pytest.fixture(scope="module")
def server():
    process, endpoint = serve()
    yield endpoint
    process.terminate()
    process.wait()


@pytest.fixture
def keys(monkeypatch):
    monkeypatch.setenv("TEST_KEY", "key-of-the-test")
    monkeypatch.setenv("TEST_SECRET", "secret-of-the-test")
    return {"path_style": True, "access_key_env": "TEST_KEY", "secret_key_env": "TEST_SECRET", "timeout_seconds": 5}


def reading(endpoint: str, bucket: str, prefix: str):
    """What a reader fetches: whole objects below one prefix."""
    s3 = client(endpoint)
    return lambda key: s3.get_object(Bucket=bucket, Key=f"{prefix}/{key}")["Body"].read()


ADS = {"sync": "mirror", "normalisers": "google_2026_11", "keep_days": 1, "max_rows_per_file": 20,
       "fields": {"email": {"column": "email", "normaliser": "email"}}}  # fmt: skip


@pytest.mark.slow
def test_a_reader_of_a_mirror_in_s3_holds_exactly_the_members(job, server, keys):
    """Three days, the last of which starts the chain anew, so that the first day's files are deleted."""
    owner = client(server)
    owner.create_bucket(Bucket="out")
    here = on_s3(with_destinations(job, {"ads": ADS}), S3(endpoint=server, encryption="AES256", **keys), "s3a://out/a")
    get, wanted = reading(server, "out", "a/ads"), {f"p{i:02}": sha(f"p{i:02}@x.org") for i in range(2, 29)}
    for number in range(3):
        today = on(here, DAY + timedelta(number))
        if number == 1:
            says(job, "p05", "withdrawn", today.date)
            email = F.when(F.col("person_id") == "p06", "new@x.org").otherwise(F.col("email"))
            job.lake.write("gold.profiles", job.lake.read("gold.profiles").withColumn("email", email))
            wanted = {p: sha("new@x.org") if p == "p06" else v for p, v in wanted.items() if p != "p05"}
        if number == 2:
            says(job, "p05", "granted", today.date)  # a word given again counts again
            wanted |= {"p05": sha("p05@x.org")}
        audiences_job.run(today)
        deliver_all(today)
        assert sorted(row["email"] for row in holds(get, ("email",))) == sorted(wanted.values())
        assert len(manifests(get)) == (1, 2, 1)[number]
    found = {o["Key"]: o["LastModified"] for o in owner.list_objects_v2(Bucket="out")["Contents"]}
    days = {key.split("/")[3][:8] for key in found if "/deliveries/" in key}
    assert days == {"20260601", "20260602"}  # what the first day delivered has expired
    assert job.lake.read("activation.deliveries").where("status = 'expired'").count() == 1
    assert max(len(manifest["files"]) for manifest in manifests(get)) == 2  # 27 rows, 20 a file
    for key in found:
        head = owner.head_object(Bucket="out", Key=key, ChecksumMode="ENABLED")
        body = owner.get_object(Bucket="out", Key=key)["Body"].read()
        assert base64.b64decode(head["ChecksumSHA256"]) == hashlib.sha256(body).digest(), key
        assert head["ServerSideEncryption"] == "AES256", key
    assert deliver_all(today)
    assert {o["Key"]: o["LastModified"] for o in owner.list_objects_v2(Bucket="out")["Contents"]} == found
    with pytest.raises(DeliveryError, match=r"bucket nowhere.*NoSuchBucket.*`exports:`"):
        deliver_all(on_s3(today, S3(endpoint=server, **keys), "s3a://nowhere/cdp"))


def test_a_large_object_is_put_in_parts_and_appears_whole_or_not_at_all(server, keys, monkeypatch):
    owner = client(server)
    owner.create_bucket(Bucket="parts")
    gate, address = proxy(int(server.rsplit(":", 1)[1]))
    monkeypatch.setattr(objects, "PART", 5 << 20)  # the least that S3 takes
    store = Bucket("s3a://parts/x", S3(endpoint=address, attempts=2, **keys))
    body = bytes(6 << 20)
    gate.plan.append(["PUT", "partNumber=2", "500", 2])
    with pytest.raises(DeliveryError, match=r"bucket parts: the request failed \(InternalError\)"):
        store.put("big.json", body)
    assert store.get("big.json") is None
    assert "Uploads" not in owner.list_multipart_uploads(Bucket="parts")
    store.put("big.json", body)
    assert store.digest("big.json") == (len(body), hashlib.sha256(body).hexdigest())
    assert owner.head_object(Bucket="parts", Key="x/big.json")["ETag"].endswith('-2"')
    gate.shutdown()
    gate.server_close()


def test_a_store_that_fails_now_and_then_is_asked_again(server, keys):
    client(server).create_bucket(Bucket="flaky")
    gate, address = proxy(int(server.rsplit(":", 1)[1]))
    store = Bucket("s3a://flaky/x", S3(endpoint=address, attempts=3, **keys | {"timeout_seconds": 1}))
    for what in ("500", "503", "reset", "late"):
        gate.plan[:] = [["PUT", what, what, 1]]
        store.put(f"{what}.json", what.encode())
        assert store.get(f"{what}.json") == what.encode()
        assert gate.plan[0][3] == 0
    once = Bucket("s3a://flaky/x", S3(endpoint=address, attempts=1, **keys | {"timeout_seconds": 1}))
    for what, told in {"500": "InternalError", "503": "SlowDown", "reset": "cannot be reached", "403":
                       r"credentials refused \(AccessDenied\).*TEST_KEY", "late": "ReadTimeout"}.items():  # fmt: skip
        gate.plan[:] = [["PUT", "once", what, 1]]
        with pytest.raises(DeliveryError, match=told) as error:
            once.put("once.json", b"{}")
        assert "secret-of" not in str(error.value) and once.get("once.json") is None
    gate.released.set()
    gate.shutdown()
    gate.server_close()


def test_a_delivery_that_fails_half_way_shows_nobody_anything(job, server, keys):
    """Data that cannot be put, then a pointer that cannot: readers stay where they were, and the next run mends it."""
    client(server).create_bucket(Bucket="faults")
    gate, address = proxy(int(server.rsplit(":", 1)[1]))
    s3 = S3(endpoint=address, attempts=1, **keys)
    here = on_s3(with_destinations(job, {"ads": ADS, "crm": ADS | {"keep_days": None}}), s3, "s3a://faults/a")
    audiences_job.run(here)
    gate.plan[:] = [["PUT", "/ads/deliveries/", "503", 99]]
    with pytest.raises(DeliveryError, match="ads: s3a://faults/a/ads.*cannot be used") as error:
        deliver_all(here)
    assert "crm" not in str(error.value) and "x.org" not in str(error.value)
    assert len(holds(reading(server, "faults", "a/crm"), ("email",))) == 27  # the other had its turn
    names = [o["Key"] for o in client(server).list_objects_v2(Bucket="faults", Prefix="a/ads/").get("Contents", [])]
    assert not [name for name in names if name.endswith(".json")]
    gate.plan[:] = [["PUT", "/ads/latest.json", "500", 99]]
    with pytest.raises(DeliveryError, match="ads: .*InternalError"):
        deliver_all(here)
    held = job.lake.read("activation.deliveries").where("destination = 'ads'").collect()
    assert {row["status"] for row in held} == {"intent"} and len({row["delivery_id"] for row in held}) == 1
    gate.plan.clear()
    says(job, "p05", "withdrawn", DAY)  # in the meantime: who was in the data that nobody saw is not in the next
    deliver_all(here)
    got = holds(reading(server, "faults", "a/ads"), ("email",))
    assert sorted(r["email"] for r in got) == sorted(sha(f"{p}@x.org") for p in PEOPLE[2:29] if p != "p05")
    done = job.lake.read("activation.deliveries").where("destination = 'ads' AND status = 'confirmed'").collect()
    sent = job.lake.read("activation.sent").where("destination = 'ads'")
    assert len(done) == 1 and sent.where(F.col("delivery_id") == done[0]["delivery_id"]).count() == 26
    gate.shutdown()
    gate.server_close()


def test_an_unreachable_endpoint_is_told_before_anything_is_written(job, keys):
    s3 = S3(endpoint=f"http://127.0.0.1:{free_port()}", attempts=1, **keys)
    with pytest.raises(DeliveryError) as error:
        deliver_all(on_s3(job, s3, "s3a://out/cdp"))
    assert s3.endpoint in str(error.value) and "`s3.endpoint`" in str(error.value)
    assert "secret-of" not in str(error.value)
    assert not job.lake.exists("activation.deliveries")


def test_wrong_credentials_are_told(keys):
    process, endpoint = serve(INITIAL_NO_AUTH_ACTION_COUNT="0")
    try:
        with pytest.raises(DeliveryError) as error:
            Bucket("s3a://out/cdp", S3(endpoint=endpoint, attempts=1, **keys)).put("latest.json", b"{}")
    finally:
        process.terminate()
        process.wait()
    told = str(error.value)
    assert "credentials refused (InvalidAccessKeyId)" in told and "TEST_KEY" in told and endpoint in told
    assert "key-of" not in told and "secret-of" not in told


def test_a_store_of_tables_and_drops_that_refuses_the_keys_is_told(job, keys):
    process, endpoint = serve(INITIAL_NO_AUTH_ACTION_COUNT="0")
    hadoop = job.spark._jsc.hadoopConfiguration()
    hadoop.set("fs.s3a.impl.disable.cache", "true")  # another test's client knows another endpoint
    try:
        on_s3(job, S3(endpoint=endpoint, attempts=1, **keys), "s3a://out/cdp")
        with pytest.raises(StorageError) as error:
            Storage(job.spark).exists("s3a://out/lake/_cdp")
    finally:
        hadoop.unset("fs.s3a.impl.disable.cache")
        process.terminate()
        process.wait()
    told = str(error.value)
    assert endpoint in told and "s3.access_key_env" in told and "s3a://out/lake" in told
    assert "key-of" not in told and "secret-of" not in told


def test_of_two_that_create_an_object_at_once_the_store_takes_one(job, server, keys, monkeypatch):
    """What the run lock rests on: both have looked before either puts."""
    hadoop, look, looks = job.spark._jsc.hadoopConfiguration(), Storage.exists, iter([False, False])
    on_s3(job, S3(endpoint=server, **keys), "s3a://out/cdp")
    mine = {"impl.disable.cache": "true", "access.key": "k", "secret.key": "s"}
    for key, value in mine.items():
        hadoop.set(f"fs.s3a.{key}", value)
    client(server).create_bucket(Bucket="lock")
    storage, uri = Storage(job.spark), "s3a://lock/lake/_cdp/lock.json"
    monkeypatch.setattr(Storage, "exists", lambda self, place: next(looks, True) and look(self, place))
    try:
        assert [storage.create(uri, text) for text in ("one", "two")] == [True, False]
        assert storage.read(uri) == "one"
    finally:
        for key in mine:
            hadoop.unset(f"fs.s3a.{key}")


def test_settings_reach_both_clients():
    found = s3_settings(S3(encryption="aws:kms", kms_key="arn:aws:kms:eu-west-1:1:key/k"))
    assert found["spark.hadoop.fs.s3a.encryption.algorithm"] == "SSE-KMS"
    assert found["spark.hadoop.fs.s3a.encryption.key"] == "arn:aws:kms:eu-west-1:1:key/k"
    assert found["spark.hadoop.fs.s3a.create.checksum.algorithm"] == "SHA256"
    with pytest.raises(ValueError, match="kms_key goes with"):
        S3(kms_key="k")
