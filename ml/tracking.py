"""Where are models kept, and which is the champion? The only module that knows MLflow."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # the run's machine tells nobody what it trains

import mlflow  # noqa: E402
import mlflow.sklearn  # noqa: E402
import pandas as pd  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.models import infer_signature  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402

CHAMPION = "champion"
NEEDS = ("scikit-learn", "numpy", "pandas", "cloudpickle")


@dataclass(frozen=True)
class Registry:
    """A deployment's models: tracked in the experiment `deployment`, registered as `<deployment>-<model>`."""

    uri: str
    artifacts: str
    deployment: str

    @property
    def client(self) -> MlflowClient:
        for noisy in ("alembic", "mlflow"):  # migrations of a new file; warnings of pickles, which are our own here
            logging.getLogger(noisy).setLevel(logging.ERROR)
        if self.uri.startswith("sqlite:///"):
            Path(self.uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.uri)
        return MlflowClient(self.uri, self.uri)

    def registered(self, model: str) -> str:
        return f"{self.deployment}-{model}"

    def _experiment(self) -> str:
        if found := self.client.get_experiment_by_name(self.deployment):
            return found.experiment_id
        place = self.artifacts.replace("s3a://", "s3://")
        place = place if "://" in place else Path(place).resolve().as_uri()
        return self.client.create_experiment(self.deployment, artifact_location=place)

    def log(self, model: str, fitted: Any, names: list[str], params: dict, metrics: dict[str, float]) -> str:
        """Keep a fitted classifier with its parameters and metrics; its version in the registry.

        The signature names the features; no row of anybody goes along.
        """
        shape = pd.DataFrame([[0.0] * len(names)], columns=names)
        with mlflow.start_run(experiment_id=self._experiment(), run_name=model):
            mlflow.log_params(params)
            mlflow.log_metrics(metrics)
            info = mlflow.sklearn.log_model(
                fitted,
                name="model",
                signature=infer_signature(shape, fitted.predict_proba(shape)),
                serialization_format="cloudpickle",  # skops, the default, refuses tree models
                pyfunc_predict_fn="predict_proba",  # the default gives labels
                pip_requirements=[f"{name}=={installed(name)}" for name in NEEDS],  # else it installs to find out
                registered_model_name=self.registered(model),
            )
        return str(info.registered_model_version)

    def promote(self, model: str, version: str) -> None:
        """Make a version the champion: what scoring takes from now on."""
        self.client.set_registered_model_alias(self.registered(model), CHAMPION, version)

    def champion(self, model: str) -> str | None:
        """The champion's version; None where the model has none. Raises MlflowException where the store is away."""
        try:
            return str(self.client.get_model_version_by_alias(self.registered(model), CHAMPION).version)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise

    def load(self, model: str, version: str) -> tuple[Any, list[str]]:
        """(the fitted classifier, the names of its features in their order) of one version."""
        uri = f"models:/{self.registered(model)}/{version}"
        self.client  # noqa: B018  sets the addresses
        names = mlflow.models.get_model_info(uri).signature.inputs.input_names()
        return mlflow.sklearn.load_model(uri), list(names)

    def log_document(self, name: str, document: dict, params: dict) -> None:
        """Keep a model that is a document (weights as JSON), as a run of its own with the artifact <name>.json."""
        with mlflow.start_run(experiment_id=self._experiment(), run_name=name):
            mlflow.log_params(params)
            mlflow.log_dict(document, f"{name}.json")
