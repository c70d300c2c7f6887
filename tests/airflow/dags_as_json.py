"""Prints what Airflow makes of the DAG folder given, as JSON. Runs in Airflow's own environment."""

import json
import sys
from pathlib import Path

from airflow.dag_processing.dagbag import BundleDagBag

folder = Path(sys.argv[1])
bag = BundleDagBag(dag_folder=folder, bundle_path=folder, bundle_name="dags-folder")
found = {
    name: {
        "tasks": {t.task_id: sorted(t.upstream_task_ids) for t in dag.tasks},
        "args": {t.task_id: [str(a) for a in getattr(t, "application_args", ())] for t in dag.tasks},
        "outlets": {t.task_id: [o.name for o in t.outlets] for t in dag.tasks if t.outlets},
        "java": sorted({t.conf["spark.driver.extraJavaOptions"] for t in dag.tasks if hasattr(t, "application_args")}),
        "pools": sorted({t.pool for t in dag.tasks}),
        "at_once": dag.max_active_tasks,
        "runs": dag.max_active_runs,
        "seconds": dag.dagrun_timeout.total_seconds(),
        "longest": max(t.execution_timeout.total_seconds() for t in dag.tasks),
        "rules": {t.task_id: str(t.trigger_rule.value) for t in dag.tasks},
        "teardowns": [t.task_id for t in dag.tasks if t.is_teardown],
        "careful": [
            t.task_id
            for t in dag.tasks
            if t.retries and t.retry_exponential_backoff and t.execution_timeout and t.pool and t.doc_md
            and t.on_failure_callback
        ],
    }
    for name, dag in bag.dags.items()
}  # fmt: skip
print("DAGS " + json.dumps({"errors": {k: str(v) for k, v in bag.import_errors.items()}, "dags": found}))
