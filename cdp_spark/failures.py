"""What went wrong below us, in words of ours? Spark's and a store's own words may hold a row's values or a key."""

from __future__ import annotations

import errno
import logging
import re
from pathlib import Path
from traceback import walk_tb
from typing import NamedTuple

from py4j.protocol import Py4JError, Py4JNetworkError
from pyspark.errors import PySparkException


class Kind(NamedTuple):
    """What the words of an error look like, what has happened, and what to do."""

    words: str
    happened: str
    remedy: str


KINDS = (
    Kind(r"No space left on device|Disk quota exceeded|File too large", "a disk is full",
         "make room where the lake lies and where Spark spills (spark.local.dir)"),
    Kind(r"OutOfMemoryError|exceeded memory limits|Cannot allocate memory", "memory ran out",
         "raise driver_memory in conf/env (under spark-submit --driver-memory and --executor-memory)"),
    Kind(r"Checkpoint block .* not found|ExecutorLostFailure|Executor heartbeat timed out|Failed to get broadcast|"
         r"executor (that originally|exited)|worker lost", "a worker was lost",
         "run the date again; if workers die often, give them more memory"),
    Kind(r"Connect(ion|Timeout)?Exception|Connection refused|"
         r"UnknownHost|NoHttpResponse|AWSClientIOException|SocketTimeout|"
         r"SdkClientException|ApiCallTimeout|Unable to execute HTTP request", "a store did not answer",
         "is it up and reachable (`s3.endpoint` in conf/env, jdbc addresses)? Then run the date again"),
)  # fmt: skip
TRACE = "CDP_TRACE=1 shows the trace"
HOME = f"{Path(__file__).resolve().parents[1]}/"
OWN = tuple(f"{HOME}{package}/" for package in ("cdp_spark", "ml", "jobs"))
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


SENDING = "Exception while sending command."  # py4j's own trace to the root logger; `told` says what it means


def quiet() -> None:
    """Keep py4j from showing traces of its own where the JVM has ended: one message is told instead."""
    logging.getLogger("py4j").setLevel(logging.CRITICAL)
    logging.getLogger().addFilter(_tells)


def _tells(record: logging.LogRecord) -> bool:
    return record.msg != SENDING


def gone(error: BaseException) -> bool:
    """Has the JVM on the other side ended? Py4J then says no more than that a call has failed."""
    words = str(error) if type(error) is Py4JError else ""
    silent = words.startswith("An error occurred while calling") and "Trace" not in words
    return silent or isinstance(error, Py4JNetworkError | ConnectionError)


def told(error: BaseException) -> str | None:
    """What has happened and what to do, never the error's own words; None for a kind that is not known here."""
    if gone(error):
        return (
            "Spark's process (the JVM of the driver) has ended: killed, or out of memory; raise driver_memory in "
            "conf/env (under spark-submit --driver-memory), and run the date again"
        )
    if isinstance(error, OSError) and error.errno in FULL:
        return f"{KINDS[0].happened}: {KINDS[0].remedy}"
    if not isinstance(error, PySparkException | Py4JError):
        return None
    words = _words(error)
    return next((f"{kind.happened}: {kind.remedy}" for kind in KINDS if re.search(kind.words, words, re.S)), None)


def _words(error: BaseException) -> str:
    """All that an error says of itself and of its causes, on both sides."""
    java, found = getattr(error, "java_exception", None) or getattr(error, "_origin", None), [str(error)]
    while java is not None and len(found) < 20:
        found.append(str(java.toString()))
        java = java.getCause()
    return "\n".join(found)


def failure(step: str, error: Exception) -> str:
    """The message of a step that failed below us; CDP_TRACE shows its trace as well."""
    return f"step {step} failed: {_why(error)}. What was published before stays in force; {TRACE}"


def unexpected(error: Exception) -> str:
    """The message of anything else that went wrong: what is known of it, and in which of our lines."""
    return told(error) or (
        f"{_why(error)}: nobody foresaw it. If the input is what the README asks for, please file it: {TRACE}, "
        "which may hold values of rows"
    )


def _why(error: Exception) -> str:
    """What has happened, or its kind and our line that it came to: words of others may hold a row's values."""
    if why := told(error):
        return why
    kind = f"{type(error).__name__}{_line(error)}"
    if isinstance(error, PySparkException):
        return f"in Spark ({kind}, {error.getCondition() or 'no condition'})"
    return f"in the JVM ({kind})" if isinstance(error, Py4JError) else f"unexpectedly ({kind})"


def _line(error: Exception) -> str:
    """The innermost of our own lines that the error passed, as ` at ml/fit.py:12`."""
    frames = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    ours = [(name.removeprefix(HOME), line) for name, line in frames if name.startswith(OWN)]
    return f" at {ours[-1][0]}:{ours[-1][1]}" if ours else ""
