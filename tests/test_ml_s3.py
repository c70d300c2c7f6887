"""Models whose artefacts lie in an object store: kept, found again, and refused where somebody changed them."""

from __future__ import annotations

import os

import pandas as pd
import pytest

from cdp_spark.config.models import S3
from ml.score import champion
from ml.tracking import ModelError, Registry, RegistryError
from tests.stores import client, serve
from tests.test_ml import NAMES, SPEC, TOY, toy

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "MLFLOW_S3_ENDPOINT_URL",
        "MLFLOW_S3_UPLOAD_EXTRA_ARGS")  # fmt: skip
KMS_KEY = "arn:aws:kms:us-east-1:123456789012:key/models"


@pytest.fixture
def store(monkeypatch):
    for name in KEYS:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)  # what the registry sets is gone after the test
    monkeypatch.setenv("TEST_KEY", "key")
    monkeypatch.setenv("TEST_SECRET", "secret")
    process, endpoint = serve()
    client(endpoint).create_bucket(Bucket="models")
    names = {"access_key_env": "TEST_KEY", "secret_key_env": "TEST_SECRET"}
    yield S3(endpoint=endpoint, path_style=True, encryption="aws:kms", kms_key=KMS_KEY, **names)
    process.terminate()
    process.wait()


def test_a_model_in_s3_is_scored_with_and_a_changed_one_is_not_loaded(store, tmp_path):
    models = Registry(f"sqlite:///{tmp_path}/mlflow.db", "s3a://models/deployment", "shop", store)
    found = toy(600, 300)
    fitted = TOY.estimator(1).fit(found.train[NAMES], found.train["label"])
    version = models.log("toy", fitted, NAMES, {}, {"roc_auc": 0.7}, {"card.md": b"# toy"}, {"share": 0.3})
    models.passed("toy", version)
    models.promote("toy", version)
    ready = champion(models, SPEC, NAMES)
    rows = found.holdout[NAMES]
    assert (ready.version, ready.wanted, ready.memory["share"]) == ("1", NAMES, 0.3)
    expected = pd.DataFrame(fitted.predict_proba(rows))
    pd.testing.assert_frame_equal(pd.DataFrame(ready.fitted.predict_proba(rows)), expected, rtol=1e-9)
    document = models.keep("clv", {"r": 0.24}, {"as_of": "2026-02-01", "snapshot_id": "s1"}, {"rmse": 1.0}, {})
    models.passed("clv", document)
    models.promote("clv", document)
    assert (models.champion("clv"), models.version_of("clv", "s1"), models.version_of("clv", "s2")) == ("1", "1", None)

    s3 = client(os.environ["MLFLOW_S3_ENDPOINT_URL"])
    objects = [one["Key"] for one in s3.list_objects_v2(Bucket="models")["Contents"]]
    assert all(key.startswith("deployment/") for key in objects)
    for kept in (s3.head_object(Bucket="models", Key=key) for key in objects):
        assert (kept["ServerSideEncryption"], kept["SSEKMSKeyId"]) == ("aws:kms", KMS_KEY)
    (key,) = [key for key in objects if key.endswith("model.pkl")]
    body = s3.get_object(Bucket="models", Key=key)["Body"].read()
    s3.put_object(Bucket="models", Key=key, Body=body + b" ")
    with pytest.raises(ModelError, match="SHA-256"):
        champion(models, SPEC, NAMES)
    s3.put_object(Bucket="models", Key=key, Body=body)
    assert champion(models, SPEC, NAMES).version == "1"
    for key in objects:
        s3.delete_object(Bucket="models", Key=key)
    with pytest.raises(RegistryError):
        champion(models, SPEC, NAMES)
