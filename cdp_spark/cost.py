"""What did a step cost? Core-seconds, shuffled and spilled bytes of its tasks, from Spark's own account of stages."""

from __future__ import annotations

from contextlib import suppress

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

PATIENCE_MS = 30_000  # for events of the last tasks: the store lags behind them


class Meter:
    """Adds up the stages that have run since it was made, on whatever executor they ran."""

    def __init__(self, spark: SparkSession):
        self._gateway = spark.sparkContext._gateway
        self._spark = spark.sparkContext._jsc.sc()
        self._before = self._newest()

    def _stages(self):
        """Stages, the newest first."""
        with suppress(Py4JJavaError):  # a busy bus: what is counted is then a little less than what was done
            self._spark.listenerBus().waitUntilEmpty(PATIENCE_MS)
        jvm = self._gateway.jvm
        no_quantiles, any_task = self._gateway.new_array(jvm.double, 0), jvm.java.util.ArrayList()
        found = self._spark.statusStore().stageList(None, False, False, no_quantiles, any_task).iterator()
        while found.hasNext():
            yield found.next()

    def _newest(self) -> int:
        return next((stage.stageId() for stage in self._stages()), -1)

    def read(self) -> dict:
        """task_seconds (time of tasks on cores), shuffle_bytes (written for others), spill_bytes (to disk)."""
        run_ms = shuffled = spilled = 0
        for stage in self._stages():
            if stage.stageId() <= self._before:
                break
            run_ms += stage.executorRunTime()
            shuffled += stage.shuffleWriteBytes()
            spilled += stage.diskBytesSpilled()
        return {"task_seconds": round(run_ms / 1000, 1), "shuffle_bytes": shuffled, "spill_bytes": spilled}
