"""Where do small files live? Reads and writes them on any file system that Spark reaches (local, s3a, hdfs)."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from py4j.protocol import Py4JJavaError
from pyspark.errors.exceptions.captured import CapturedException
from pyspark.sql import SparkSession

from cdp_spark import failures

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)
# S3 itself refuses to put where something is (If-None-Match); a store that does not know the word ignores it.
ONLY_NEW = "fs.option.create.conditional.overwrite"


class StorageError(Exception):
    """A place cannot be reached or used: says which, why as far as the store tells, and which settings decide."""

    exit_code = 3


def cause(error: Exception) -> str:
    """Kind of what began an error of the JVM: its words may hold values."""
    java = getattr(error, "java_exception", None) or getattr(error, "_origin", None)
    while java is not None and java.getCause() is not None:
        java = java.getCause()
    return java.getClass().getSimpleName() if java else type(error).__name__


def _replace(place: Path, text: str) -> None:
    """Put `text` at a local `place` in one move: Hadoop's own rename deletes what is there first."""
    part = place.with_name(f".{place.name}.part")
    _filled(part, text)
    place.with_name(f".{place.name}.crc").unlink(missing_ok=True)  # of Hadoop's, about what was there before
    part.replace(place)


def _filled(place: Path, text: str, mode: str = "w") -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open(mode, encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _link(place: Path, text: str) -> bool:
    """Put `text` at a local `place` whole, only if nothing is there: a link is made or not, and never half."""
    part = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
    try:
        _filled(part, text)
        os.link(part, place)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return _opened(place, text)
    finally:
        part.unlink(missing_ok=True)
    return True


def _opened(place: Path, text: str) -> bool:
    """As `_link` where the file system knows no links; what could not be filled is removed again."""
    try:
        _filled(place, text, "x")
    except FileExistsError:
        return False
    except OSError:
        with suppress(OSError):
            place.unlink()
        raise
    return True


class Storage:
    """Small files (kilobytes) below a root URI, through the same Hadoop file systems that tables use."""

    def __init__(self, spark: SparkSession):
        self._jvm = spark._jvm
        self._path = getattr(spark._jvm, "org.apache.hadoop.fs.Path")
        self._conf = spark._jsc.hadoopConfiguration()

    def _open(self, uri: str):
        path = self._path(uri)
        return path.getFileSystem(self._conf), path

    @contextmanager
    def telling(self, uri: str) -> Iterator[None]:
        """Errors of the store as StorageError: its own words may name keys, so only their kind is told."""
        try:
            yield
        except (Py4JJavaError, CapturedException, OSError) as error:
            told = f"{uri} cannot be used ({failures.told(error) or cause(error)})"
            if uri.startswith("s3a://"):
                told += (
                    f": is the store at {self._conf.get('fs.s3a.endpoint') or 'the default endpoint'} up and reachable "
                    "(`s3.endpoint` in conf/env), does the bucket exist, and do the environment variables that "
                    "`s3.access_key_env` and `s3.secret_key_env` name hold keys that may use it?"
                )
            raise StorageError(told) from None

    def exists(self, uri: str) -> bool:
        with self.telling(uri):
            fs, path = self._open(uri)
            return fs.exists(path)

    def read(self, uri: str) -> str:
        """The file's text. Raises FileNotFoundError where there is none."""
        if not self.exists(uri):
            raise FileNotFoundError(uri)
        with self.telling(uri):
            fs, path = self._open(uri)
            stream = fs.open(path)
            try:
                return bytes(getattr(self._jvm, "org.apache.commons.io.IOUtils").toByteArray(stream)).decode("utf-8")
            finally:
                stream.close()

    def write(self, uri: str, text: str) -> None:
        """Put `text` at `uri` whole or not at all: object stores put atomically, others rename into place."""
        with self.telling(uri):
            fs, path = self._open(uri)
            if fs.getScheme() in ("s3a", "s3"):
                self._put(fs, path, text, overwrite=True)
                return
            if fs.getScheme() == "file":
                _replace(Path(path.toUri().getPath()), text)
                return
            part = self._path(f"{uri}.part")
            self._put(fs, part, text, overwrite=True)
            fs.delete(path, False)
            fs.rename(part, path)

    def create(self, uri: str, text: str) -> bool:
        """Put `text` at `uri` whole, only if nothing is there: True if it was put. What the run lock rests on.

        A local file is linked into place, an object is put if the store has none of its name, elsewhere a file is
        renamed into place: whoever dies in between, and whatever disk is full, leaves no half of it.
        """
        if self.exists(uri):
            return False
        with self.telling(uri):
            fs, path = self._open(uri)
            if fs.getScheme() == "file":
                return _link(Path(path.toUri().getPath()), text)
            try:
                if fs.getScheme() in ("s3a", "s3"):
                    return self._put_new(fs, path, text)
                return self._renamed(fs, path, text)
            except (Py4JJavaError, CapturedException):
                if self.exists(uri):  # somebody else was quicker
                    return False
                raise

    def _put_new(self, fs, path, text: str) -> bool:
        self._fill(fs.createFile(path).recursive().overwrite(False).opt(ONLY_NEW, True).build(), text)
        return True

    def _renamed(self, fs, path, text: str) -> bool:
        part = self._path(f"{path.toString()}.{uuid.uuid4().hex}")
        try:
            self._put(fs, part, text, overwrite=False)
            return fs.rename(part, path)
        finally:
            fs.delete(part, False)

    def _put(self, fs, path, text: str, *, overwrite: bool) -> None:
        self._fill(fs.create(path, overwrite), text)

    @staticmethod
    def _fill(stream, text: str) -> None:
        try:
            stream.write(bytearray(text.encode("utf-8")))
        finally:
            stream.close()

    def delete(self, uri: str) -> None:
        with self.telling(uri):
            fs, path = self._open(uri)
            fs.delete(path, True)

    def files(self, uri: str) -> list[str]:
        """Paths of the files that a glob below any file system matches, sorted; [] where none does."""
        return [path for path, _, _ in self.stamps(uri)]

    def stamps(self, uri: str) -> list[tuple[str, int, int]]:
        """(path, bytes, time of the last change) of the files that a glob matches, sorted by path."""
        with self.telling(uri):
            fs, path = self._open(uri)
            found = [status for status in fs.globStatus(path) or [] if status.isFile()]
        return sorted((s.getPath().toString(), s.getLen(), s.getModificationTime()) for s in found)

    def size(self, uri: str) -> int:
        with self.telling(uri):
            fs, path = self._open(uri)
            return fs.getFileStatus(path).getLen()
