"""How do tables get in and out? The only module that knows Delta: contracts, modes, checks, audit facts."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from threading import RLock
from typing import NamedTuple

from delta.tables import DeltaTable
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, DataFrameWriter, SparkSession
from pyspark.sql import functions as F

from cdp_spark.config.contract import Check, Table
from cdp_spark.contracts import (
    ContractError,
    RowCheck,
    conformed,
    counted,
    quarantine_rows,
    repeated_keys,
    row_checks,
    schema,
)
from cdp_spark.migrate import as_promised, difference, statements

QUARANTINE = "bronze._quarantine"


class Written(NamedTuple):
    """What a write did: rows in the frame that was kept, rows set aside, failed checks that only warn."""

    rows: int
    quarantined: int
    warnings: dict[str, int]


@dataclass
class Lake:
    """Tables below `root` (or in a catalog), written for the run `run_id`.

    `read` and `write` go through the contracts in `tables`; each write commits its audit facts with the data.
    """

    spark: SparkSession
    root: str
    tables: dict[str, Table]
    run_id: str = "none"
    step: str = "none"
    catalog: str | None = None
    reads: dict[str, int] = field(default_factory=dict)
    writes: dict[str, Written] = field(default_factory=dict)
    on_write: Callable[[str, Written], None] | None = None
    seen: dict[str, Callable[[DataFrame], DataFrame]] = field(default_factory=dict)  # tables that are read otherwise
    alone: RLock = field(default_factory=RLock, repr=False)  # what only one thread may do at a time

    def contract(self, name: str) -> Table:
        """The contract of a table; all sources' bronze tables share one. Raises KeyError for an unknown table."""
        layer, _, table = name.partition(".")
        if layer == "bronze" and not table.startswith("_"):
            return self.tables["bronze._source"]
        if name not in self.tables:
            raise KeyError(f"no contract for table {name}: add it to conf/tables/{layer}.yml")
        return self.tables[name]

    def location(self, name: str) -> str:
        """Where a table lies: a folder below the root, or a name in the catalog."""
        if self.catalog:
            return f"{self.catalog}.{name}"
        return f"{self.root.rstrip('/')}/{name.replace('.', '/')}"

    def _table(self, name: str) -> DeltaTable:
        if self.catalog:
            return DeltaTable.forName(self.spark, self.location(name))
        return DeltaTable.forPath(self.spark, self.location(name))

    def exists(self, name: str) -> bool:
        if self.catalog:
            return self.spark.catalog.tableExists(self.location(name))
        return DeltaTable.isDeltaTable(self.spark, self.location(name))

    def version(self, name: str) -> int | None:
        """Newest version of a table; None where it is not there yet."""
        if not self.exists(name):
            return None
        if self.catalog:
            return self._table(name).history(1).first()["version"]
        # Delta's public API tells a version by a Spark job over the history: forty times the cost, and each read asks
        jvm, none = self.spark._jvm, getattr(self.spark._jvm, "scala.Option").empty()
        path = getattr(jvm, "org.apache.hadoop.fs.Path")(self.location(name))
        log = getattr(jvm, "org.apache.spark.sql.delta.DeltaLog").forTable(self.spark._jsparkSession, path)
        return log.update(False, none, none).version()

    def read(self, name: str, version: int | None = None) -> DataFrame:
        """The table with its contract's columns; an empty frame where nothing was written yet."""
        wanted = schema(self.contract(name))
        if not self.exists(name):
            return self.spark.createDataFrame([], wanted)
        self.reads[name] = self.version(name) if version is None else version
        reader = self.spark.read.format("delta").option("versionAsOf", self.reads[name])
        found = reader.table(self.location(name)) if self.catalog else reader.load(self.location(name))
        table = self.contract(name)
        found = found.select(*as_promised(table, difference(name, found.schema, table)))
        return self.seen[name](found) if name in self.seen else found

    def write(self, name: str, frame: DataFrame, *, on: date | None = None, source: str = "") -> Written:
        """Check `frame` against its contract and commit it by the table's mode.

        by_date: the rows of day `on` are replaced; `on` must be the only value of the contract's date column.
        state: the whole is replaced.  ledger: rows whose key is not there yet are added.
        Rows that break a `quarantine` check go to bronze._quarantine first. Raises ContractError, and commits nothing,
        where a `fail` check is broken.
        """
        table = self.contract(name)
        if (table.mode == "by_date") != (on is not None):
            raise ContractError(f"{name} is a {table.mode} table: `on` goes with by_date, and only with it")
        rows = conformed(frame, name, table).persist(StorageLevel.MEMORY_AND_DISK)
        try:
            counts = self._judged(name, table, rows, on)
            kept = self._without_bad_rows(name, table, rows, counts, on, source)
            written = Written(counts["rows"] - counts["bad"], counts["bad"], counts["warnings"])
            self._migrate(name, table)
            self._commit(name, table, kept, on, self._facts(table, written))
        finally:
            rows.unpersist()
        self.writes[name] = written
        if self.on_write:
            self.on_write(name, written)
        return written

    def _migrate(self, name: str, table: Table) -> None:
        """Alter a table that is there to its contract; one of state is replaced as a whole and needs none of it."""
        if table.mode == "state" or not self.exists(name):
            return
        place = self.location(name) if self.catalog else f"delta.`{self.location(name)}`"
        for statement in statements(place, difference(name, self._table(name).toDF().schema, table)):
            self.spark.sql(statement)

    def _judged(self, name: str, table: Table, rows: DataFrame, on: date | None) -> dict:
        checks = row_checks(table)
        if on is not None:
            only = F.col(table.date) == F.lit(on)
            checks.append(RowCheck(f"{table.date} is {on}", "fail", F.coalesce(only, F.lit(False)), f"{on}"))
        bad = F.lit(False)
        for check in checks:
            bad = bad | ~check.good if check.severity == "quarantine" else bad
        unique = [check for check in table.checks if check.unique]
        found = counted(rows, {"bad": bad} | {f"c{i}": ~check.good for i, check in enumerate(checks)},
                        unique[0].unique if unique else ())  # fmt: skip
        broken = {c.name: (c.severity, found[f"c{i}"]) for i, c in enumerate(checks) if found[f"c{i}"]}
        if found["repeated"]:
            broken[unique[0].label] = (unique[0].severity, found["repeated"])
        broken |= self._broken_table_checks(name, [c for c in table.checks if c not in unique[:1]], rows, found["rows"])
        if fatal := {label: n for label, (severity, n) in broken.items() if severity == "fail"}:
            told = "; ".join(f"{label}: {n} broken" for label, n in fatal.items())
            raise ContractError(f"{name}: nothing was written, as its contract is broken: {told}")
        warnings = {label: n for label, (severity, n) in broken.items() if severity == "warn"}
        return {"rows": found["rows"], "bad": found["bad"], "warnings": warnings}

    def _broken_table_checks(self, name: str, checks: list[Check], rows: DataFrame, count: int) -> dict:
        broken = {}
        for check in checks:
            if check.unique and (twice := repeated_keys(rows, check.unique)):
                broken[check.label] = (check.severity, twice)
            if check.rows_change_max is not None and self.exists(name):
                before = self.read(name).count()
                if before and abs(count - before) > check.rows_change_max * before:
                    broken[f"rows went from {before} to {count}"] = (check.severity, abs(count - before))
        return broken

    def _without_bad_rows(self, name, table, rows: DataFrame, counts: dict, on, source: str) -> DataFrame:
        if not any(check.severity == "quarantine" for check in table.checks):
            return rows
        kept = rows
        bad = []
        for check in row_checks(table):
            if check.severity == "quarantine":
                bad.append(quarantine_rows(rows.where(~check.good), name, check.name, check.expected, on))
                kept = kept.where(check.good)
        if on is not None:
            union = bad[0]
            for more in bad[1:]:
                union = union.unionByName(more)
            self.quarantine(name, union, on, counts["bad"])
        return kept if counts["bad"] else rows

    def quarantine(self, name: str, bad: DataFrame, on: date, rows: int) -> None:
        """Set the `rows` bad rows of `name` on day `on` aside, in place of those set aside by an earlier try."""
        table = self.contract(QUARANTINE)
        where = f"ingest_date = '{on}' AND table_name = '{name}'"
        with self.alone:
            if not rows and (not self.exists(QUARANTINE) or self.read(QUARANTINE).where(where).isEmpty()):
                return
            facts = self._facts(table, Written(rows, 0, {}))
            self._save(QUARANTINE, table, conformed(bad, QUARANTINE, table), facts, replace=where)

    def _commit(self, name: str, table: Table, rows: DataFrame, on: date | None, facts: str) -> None:
        if table.mode == "by_date":
            self._save(name, table, rows, facts, replace=f"{table.date} = '{on}'")
        elif table.mode == "state":
            self._save(name, table, rows, facts)
        else:
            self._add_missing(name, table, rows, facts)

    def _save(self, name: str, table: Table, rows: DataFrame, facts: str, replace: str | None = None) -> None:
        writer = rows.write.format("delta").mode("overwrite").option("userMetadata", facts)
        if not self.exists(name):
            if table.mode == "by_date":
                writer = writer.partitionBy(table.date, *table.folders)
        elif replace:
            writer = writer.option("replaceWhere", replace).option("mergeSchema", "true")
        else:
            writer = writer.option("overwriteSchema", "true")
        self._to(writer, name)

    def _to(self, writer: DataFrameWriter, name: str) -> None:
        if not self.catalog:
            writer.save(self.location(name))
            return
        self.spark.sql(f"CREATE SCHEMA IF NOT EXISTS {self.catalog}.{name.split('.')[0]}")
        writer.saveAsTable(self.location(name))

    def _add_missing(self, name: str, table: Table, rows: DataFrame, facts: str) -> None:
        same = F.expr(" AND ".join(f"old.`{column}` <=> new.`{column}`" for column in table.key))
        with self.alone:  # what is known must not change until what is missing is added
            if not self.exists(name):
                self._save(name, table, rows, facts)
                return
            known = self._table(name).toDF().select(*(f"`{column}`" for column in table.key)).alias("old")
            new = rows.dropDuplicates(list(table.key)).alias("new").join(known, same, "left_anti")
            self._to(new.write.format("delta").mode("append").option("userMetadata", facts), name)

    def _facts(self, table: Table, written: Written) -> str:
        facts = {
            "run_id": self.run_id,
            "step": self.step,
            "mode": table.mode,
            "rows": written.rows,
            "quarantined": written.quarantined,
            "checks": written.warnings,
            "reads": self.reads,
            "user": getpass.getuser(),
        }
        return json.dumps(facts, sort_keys=True)

    def optimize(self, name: str, since: date) -> None:
        """Join small files, and order rows by the contract's `cluster`; of a by_date table the days from `since` on."""
        table, work = self.contract(name), self._table(name).optimize()
        if table.mode == "by_date":
            work = work.where(f"{table.date} >= '{since}'")
        if table.cluster:
            work.executeZOrderBy(list(table.cluster))
        else:
            work.executeCompaction()

    def forget(self, name: str, before: date) -> None:
        """Delete the days of a by_date table that lie before `before`."""
        self._table(name).delete(f"{self.contract(name).date} < '{before}'")

    def remove(self, name: str, where: Column) -> None:
        """Delete the rows of a table for which `where` is true."""
        self._table(name).delete(where)

    def vacuum(self, name: str, days: int) -> None:
        """Delete files that no version of the last `days` days holds: older versions can then be read no more."""
        self._table(name).vacuum(24 * days)

    def commits(self, name: str, last: int) -> DataFrame:
        """The `last` newest commits to a table that are this project's: version, timestamp, userMetadata (facts)."""
        found = self._table(name).history(last).select("version", "timestamp", "userMetadata")
        return found.where(F.get_json_object("userMetadata", "$.run_id").isNotNull())
