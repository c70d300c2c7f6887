"""Is it the drop or its YAML that Spark stumbled over, or something that concerns every source?"""

from __future__ import annotations

import os
import re

from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException, IllegalArgumentException, PySparkException

from cdp_spark.failures import told

OF_A_DROP = ("FAILED_READ_FILE", "CANNOT_MERGE_SCHEMAS", "UNABLE_TO_INFER_SCHEMA", "INVALID_PARAMETER")
MEANT = {"COLUMN_ALREADY_EXISTS": "two columns have one name, but for capital letters: rename one where it is made"}
OF_JAVA = re.compile(r"\[([A-Z][A-Z_]+(?:\.[A-Z_]+)*)\]")
PATTERN = "java.util.regex.PatternSyntaxException"


def condition(error: Exception) -> str:
    """Spark's name of an error (FAILED_READ_FILE.NO_HINT), never its words: they may hold a row's values."""
    if isinstance(error, PySparkException):
        return error.getCondition() or type(error).__name__
    text = str(error)
    found = OF_JAVA.search(text)
    return found.group(1) if found else "PatternSyntaxException" if PATTERN in text else type(error).__name__


def unreadable(error: PySparkException | Py4JJavaError) -> str | None:
    """What is wrong with a source's files, options or expressions; None where the cause may be another one."""
    if os.environ.get("CDP_TRACE") or told(error):
        return None
    name = condition(error)
    mine = isinstance(error, AnalysisException | IllegalArgumentException) or name.startswith(OF_A_DROP)
    if not mine and name != "PatternSyntaxException":
        return None
    return f"{name} ({MEANT[name]})" if name in MEANT else name
