"""Where are models kept, and which is the champion? The only module that knows MLflow."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # the run's machine tells nobody what it trains
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # a server that is down is told in seconds, not minutes
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

import mlflow  # noqa: E402
import mlflow.sklearn  # noqa: E402
import pandas as pd  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.models import infer_signature  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402

from cdp_spark.config.models import S3  # noqa: E402
from ml.predict import Foreign  # noqa: E402
from ml.tune import JUDGED_BY  # noqa: E402

CHAMPION, CHALLENGER = "champion", "challenger"
PAST = "past_champions"  # tag of the registered model: versions, the newest last
HASH, GATE, DOCUMENT, CHOSEN = "sha256", "gate", "document", "was_champion"  # tags of a version
NEEDS = ("scikit-learn", "numpy", "pandas", "cloudpickle")
UNREADABLE = (pickle.UnpicklingError, ImportError, AttributeError, EOFError, KeyError, TypeError, ValueError)
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


class RegistryError(Exception):
    """The registry is away, knows no such version, or holds another file than was registered. Exit code 3."""

    exit_code = 3


class ModelError(RegistryError):
    """A version that nobody can use, however well its store answers: other files, no signature, no such classes."""


@dataclass(frozen=True)
class Registry:
    """A deployment's models: tracked in the experiment `deployment`, registered as `<deployment>-<model>`."""

    uri: str
    artifacts: str
    deployment: str
    s3: S3 | None = None  # how artefacts in s3:// are reached; None: as the environment of MLflow and boto3 says

    @property
    def client(self) -> MlflowClient:
        for noisy in ("alembic", "mlflow"):  # migrations of a new file; warnings of pickles, which are our own here
            logging.getLogger(noisy).setLevel(logging.ERROR)
        if self.uri.startswith("sqlite:///"):
            Path(self.uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        if self.s3 and self.artifacts.startswith(("s3://", "s3a://")):
            _reach(self.s3)
        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.uri)
        return MlflowClient(self.uri, self.uri)

    @contextmanager
    def _reached(self, what: str) -> Iterator[None]:
        try:
            yield
        except RegistryError:
            raise
        except Exception as error:  # a server, a database, a disk: each has its own kinds
            place = self.uri.split("@")[-1]  # not the password
            code = getattr(error, "error_code", type(error).__name__)
            raise RegistryError(
                f"MLflow at {place}: cannot {what} ({code}); is it up, and is the version there?"
            ) from None

    def registered(self, model: str) -> str:
        return f"{self.deployment}-{model}"

    def _experiment(self) -> str:
        if found := self.client.get_experiment_by_name(self.deployment):
            return found.experiment_id
        place = self.artifacts.replace("s3a://", "s3://")
        place = place if "://" in place else Path(place).resolve().as_uri()
        return self.client.create_experiment(self.deployment, artifact_location=place)

    def log(
        self,
        model: str,
        fitted: Any,
        names: list[str],
        params: dict,
        metrics: dict[str, float],
        files: dict[str, bytes] | None = None,
        metadata: dict | None = None,
        tries: list[dict] | None = None,
    ) -> str:
        """Keep a fitted classifier with parameters, metrics, files and metadata as challenger; its version.

        The signature names the features; the input example is one row of zeros: no row of anybody goes along.
        """
        shape = pd.DataFrame([[0.0] * len(names)], columns=names)
        with self._reached(f"keep {model}"), mlflow.start_run(experiment_id=self._experiment(), run_name=model):
            self._log_report(params, metrics, files or {})
            self._log_tries(model, tries or [])
            info = mlflow.sklearn.log_model(
                fitted,
                name="model",
                signature=infer_signature(shape, fitted.predict_proba(shape)),
                serialization_format="cloudpickle",  # skops, the default, refuses tree models
                pyfunc_predict_fn="predict_proba",  # the default gives labels
                pip_requirements=[f"{name}=={installed(name)}" for name in NEEDS],  # else it installs to find out
                metadata=metadata,
                input_example=shape,
                registered_model_name=self.registered(model),
            )
            return self._challenger(model, str(info.registered_model_version))

    def keep(self, model: str, document: dict, params: dict, metrics: dict[str, float], files: dict[str, bytes]) -> str:
        """Keep a model that is a document (parameters as JSON) as challenger, as `log` a classifier; its version."""
        with self._reached(f"keep {model}"), mlflow.start_run(experiment_id=self._experiment(), run_name=model) as run:
            self._log_report(params, metrics, files)
            mlflow.log_dict(document, "model/model.json")
            name, client = self.registered(model), self.client
            if not client.search_registered_models(f"name = '{name}'"):
                client.create_registered_model(name)
            made = client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id)
            client.set_model_version_tag(name, str(made.version), DOCUMENT, "true")
            return self._challenger(model, str(made.version))

    def _log_report(self, params: dict, metrics: dict[str, float], files: dict[str, bytes]) -> None:
        mlflow.log_params(params)
        mlflow.log_metrics(metrics)
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                Path(folder, name).write_bytes(content)
            mlflow.log_artifacts(folder, "report")

    def _challenger(self, model: str, version: str) -> str:
        self._seal(model, version)
        self.client.set_registered_model_alias(self.registered(model), CHALLENGER, version)
        return version

    def version_of(self, model: str, snapshot: str) -> str | None:
        """The version that was fitted on a snapshot before; None where there is none."""
        asked = f"attributes.run_name = '{model}' and params.snapshot_id = '{snapshot}'"
        with self._reached(f"look for {model}"):
            runs = {run.info.run_id for run in self.client.search_runs([self._experiment()], asked)}
            found = self.client.search_model_versions(f"name = '{self.registered(model)}'") if runs else []
            numbers = [int(one.version) for one in found if one.run_id in runs and HASH in one.tags]
        return str(max(numbers)) if numbers else None

    def _log_tries(self, model: str, tries: list[dict]) -> None:
        """A nested run for each try of the tuning: its settings as parameters, what it was judged by as metrics."""
        for number, one in enumerate(tries):
            with mlflow.start_run(experiment_id=self._experiment(), run_name=f"{model} try {number}", nested=True):
                judged = {name: value for name, value in one.items() if name in JUDGED_BY}
                mlflow.log_params({name: value for name, value in one.items() if name not in judged})
                mlflow.log_metrics(judged)

    def attach(self, model: str, version: str, name: str, content: bytes) -> None:
        """Keep a file beside a version: in the run that it was registered from. A version without a run keeps none."""
        with self._reached(f"keep {name} beside {model} version {version}"), tempfile.TemporaryDirectory() as folder:
            run = self.client.get_model_version(self.registered(model), version).run_id
            if run:
                path = Path(folder, Path(name).name)
                path.write_bytes(content)
                self.client.log_artifact(run, str(path), str(Path(name).parent))

    def _address(self, model: str, version: str) -> str:
        return f"models:/{self.registered(model)}/{version}"

    def _digest(self, model: str, version: str) -> str:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(mlflow.artifacts.download_artifacts(self._address(model, version), dst_path=folder))
            parts = sorted(p for p in root.rglob("*") if p.is_file() and p.name != "registered_model_meta")
            if not parts:  # a disk that is not mounted, or a prefix without objects
                raise RegistryError(f"{model} version {version}: none of its files is where they were registered")
            content = b"".join(p.relative_to(root).as_posix().encode() + p.read_bytes() for p in parts)
        return hashlib.sha256(content).hexdigest()

    def _seal(self, model: str, version: str) -> None:
        self.client.set_model_version_tag(self.registered(model), version, HASH, self._digest(model, version))

    def passed(self, model: str, version: str) -> None:
        """Note that a version has passed the gate."""
        with self._reached(f"note the gate of {model} version {version}"):
            self.client.set_model_version_tag(self.registered(model), version, GATE, "passed")

    def promote(self, model: str, version: str, ungated: bool = False) -> None:
        """Make a version the champion: what scoring takes from now on; the one before is remembered.

        Any pyfunc model may be given, registered by whomever, if its signature names its features. Raises RegistryError
        for an unknown version, one without signature, or one that the gate has not passed unless `ungated`.
        """
        with self._reached(f"promote {model} version {version}"):
            found = self.client.get_model_version(self.registered(model), version)
            if not ungated and found.tags.get(GATE) != "passed":
                raise RegistryError(
                    f"{model} version {version} has not passed the gate; --ungated promotes it all the same"
                )
            if DOCUMENT not in found.tags:
                self.names(model, version)
            if HASH not in found.tags:
                self._seal(model, version)
            if (before := self.champion(model)) and before != version:
                past = self._past(model)
                if past[-1:] != [before]:  # else an earlier try was broken off right here
                    past = [*past, before]
                self.client.set_registered_model_tag(self.registered(model), PAST, ",".join(past))
            self.client.set_registered_model_alias(self.registered(model), CHAMPION, version)
            self.client.set_model_version_tag(self.registered(model), version, CHOSEN, "true")

    def was_champion(self, model: str, version: str) -> bool:
        """Has this version ever been champion?"""
        with self._reached(f"look for {model} version {version}"):
            return CHOSEN in self.client.get_model_version(self.registered(model), version).tags

    def rollback(self, model: str) -> str:
        """Make the champion before the present one champion again; its version. Raises RegistryError where none was."""
        with self._reached(f"roll {model} back"):
            past = self._past(model)
            if not past:
                raise RegistryError(f"{model} has had no champion before: there is nothing to go back to")
            self.client.set_registered_model_alias(self.registered(model), CHAMPION, past[-1])
            self.client.set_registered_model_tag(self.registered(model), PAST, ",".join(past[:-1]))
        return past[-1]

    def _past(self, model: str) -> list[str]:
        tags = self.client.get_registered_model(self.registered(model)).tags
        return [version for version in tags.get(PAST, "").split(",") if version]

    def snapshots_in_use(self, model: str) -> set[str]:
        """Training sets that a version with an alias names, or one that a rollback may return to."""
        name = self.registered(model)
        with self._reached(f"look for {model}"):
            known = self.client.search_registered_models(f"name = '{name}'")
            wanted = {str(version) for one in known for version in one.aliases.values()}
            wanted |= set(self._past(model)) if known else set()
            runs = {self.client.get_model_version(name, version).run_id for version in wanted} - {"", None}
            return {self.client.get_run(run).data.params.get("snapshot_id", "") for run in runs} - {""}

    def versions(self, model: str) -> list[dict]:
        """Every version, the newest first: version, aliases, gate, created (milliseconds); [] for an unknown model."""
        with self._reached(f"list {model}"):
            found = self.client.search_model_versions(f"name = '{self.registered(model)}'")
            aliases = self.client.get_registered_model(self.registered(model)).aliases if found else {}
        return [
            {
                "version": str(one.version),
                "aliases": sorted(alias for alias, version in aliases.items() if str(version) == str(one.version)),
                "gate": one.tags.get(GATE),
                "created": one.creation_timestamp,
            }
            for one in sorted(found, key=lambda one: -int(one.version))
        ]

    def champion(self, model: str) -> str | None:
        """The champion's version; None where the model has none. Raises RegistryError where the store is away."""
        with self._reached(f"ask for the champion of {model}"):
            try:
                return str(self.client.get_model_version_by_alias(self.registered(model), CHAMPION).version)
            except MlflowException as error:
                if error.error_code in ABSENT:
                    return None
                raise

    def names(self, model: str, version: str) -> list[str]:
        """The features a version takes, in their order. Raises RegistryError where its signature names none."""
        self.client  # noqa: B018  sets the addresses
        signature = mlflow.models.get_model_info(self._address(model, version)).signature
        names = signature.inputs.input_names() if signature and signature.inputs else []
        if not names:
            raise ModelError(f"{model} version {version} has no signature that names its features")
        return list(names)

    def metadata(self, model: str, version: str) -> dict:
        """What was kept beside a version: bins of its training, share of positives; {} for a model from elsewhere."""
        with self._reached(f"read {model} version {version}"):
            return mlflow.models.get_model_info(self._address(model, version)).metadata or {}

    def load(self, model: str, version: str) -> tuple[Any, list[str]]:
        """(the fitted classifier, the names of its features in their order) of one version.

        Raises ModelError where its files are not those that were registered (they are not loaded then) or cannot be
        made a model again here; RegistryError where they cannot be reached.
        """
        uri = self._address(model, version)
        with self._reached(f"load {model} version {version}"):
            sealed = self.client.get_model_version(self.registered(model), version).tags.get(HASH)
            if sealed and sealed != self._digest(model, version):
                raise ModelError(f"{model} version {version}: its files are not those registered (SHA-256 differs)")
            names = self.names(model, version)
            ours = "sklearn" in mlflow.models.get_model_info(uri).flavors
            try:
                return mlflow.sklearn.load_model(uri) if ours else Foreign(mlflow.pyfunc.load_model(uri)), names
            except UNREADABLE as error:
                kind = type(error).__name__
                raise ModelError(f"{model} version {version} cannot be made a model again here ({kind})") from None

    def log_document(self, name: str, document: dict, params: dict) -> None:
        """Keep a model that is a document (weights as JSON), as a run of its own with the artifact <name>.json."""
        with self._reached(f"keep {name}"), mlflow.start_run(experiment_id=self._experiment(), run_name=name):
            mlflow.log_params(params)
            mlflow.log_dict(document, f"{name}.json")

    def has_document(self, name: str, key: str, value: str) -> bool:
        """Is there a run of `log_document` that went through, whose parameter `key` is `value`?"""
        asked = f"attributes.run_name = '{name}' and attributes.status = 'FINISHED' and params.{key} = '{value}'"
        with self._reached(f"look for {name}"):
            return bool(self.client.search_runs([self._experiment()], asked, max_results=1))


def _reach(s3: S3) -> None:
    """MLflow learns of its store from the environment alone; what stands there already stays."""
    told = {"MLFLOW_S3_ENDPOINT_URL": s3.endpoint, "AWS_DEFAULT_REGION": s3.region}
    asked = {"ServerSideEncryption": s3.encryption, "SSEKMSKeyId": s3.kms_key}
    if asked := {name: value for name, value in asked.items() if value}:
        told["MLFLOW_S3_UPLOAD_EXTRA_ARGS"] = json.dumps(asked)
    keys = {"AWS_ACCESS_KEY_ID": s3.access_key_env, "AWS_SECRET_ACCESS_KEY": s3.secret_key_env}
    for name, value in (told | {name: os.environ.get(key) for name, key in keys.items()}).items():
        if value:
            os.environ.setdefault(name, value)
