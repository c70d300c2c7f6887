"""Where do small files live? Reads and writes them on any file system that Spark reaches (local, s3a, hdfs)."""

from __future__ import annotations

from pyspark.errors.exceptions.captured import CapturedException
from pyspark.sql import SparkSession


class Storage:
    """Small files (kilobytes) below a root URI, through the same Hadoop file systems that tables use."""

    def __init__(self, spark: SparkSession):
        self._jvm = spark._jvm
        self._conf = spark._jsc.hadoopConfiguration()

    def _open(self, uri: str):
        path = self._jvm.org.apache.hadoop.fs.Path(uri)
        return path.getFileSystem(self._conf), path

    def exists(self, uri: str) -> bool:
        fs, path = self._open(uri)
        return fs.exists(path)

    def read(self, uri: str) -> str:
        """The file's text. Raises FileNotFoundError where there is none."""
        if not self.exists(uri):
            raise FileNotFoundError(uri)
        fs, path = self._open(uri)
        stream = fs.open(path)
        try:
            return bytes(self._jvm.org.apache.commons.io.IOUtils.toByteArray(stream)).decode("utf-8")
        finally:
            stream.close()

    def write(self, uri: str, text: str) -> None:
        """Put `text` at `uri` whole or not at all: object stores put atomically, others rename into place."""
        fs, path = self._open(uri)
        if fs.getScheme() in ("s3a", "s3"):
            self._put(fs, path, text, overwrite=True)
            return
        part = self._jvm.org.apache.hadoop.fs.Path(f"{uri}.part")
        self._put(fs, part, text, overwrite=True)
        fs.delete(path, False)
        fs.rename(part, path)

    def create(self, uri: str, text: str) -> bool:
        """Put `text` at `uri` only if nothing is there: True if it was put. What the run lock rests on."""
        fs, path = self._open(uri)
        if fs.exists(path):
            return False
        try:
            self._put(fs, path, text, overwrite=False)
        except CapturedException as error:
            if "exist" in str(error).lower() or "412" in str(error):
                return False
            raise
        except Exception as error:
            if type(error).__name__ == "Py4JJavaError" and fs.exists(path):
                return False
            raise
        return True

    def _put(self, fs, path, text: str, *, overwrite: bool) -> None:
        stream = fs.create(path, overwrite)
        try:
            stream.write(bytearray(text.encode("utf-8")))
        finally:
            stream.close()

    def delete(self, uri: str) -> None:
        fs, path = self._open(uri)
        fs.delete(path, True)

    def files(self, uri: str) -> list[str]:
        """Paths of the files that a glob below any file system matches, sorted; [] where none does."""
        fs, path = self._open(uri)
        found = fs.globStatus(path) or []
        return sorted(str(status.getPath().toString()) for status in found if status.isFile())

    def size(self, uri: str) -> int:
        fs, path = self._open(uri)
        return fs.getFileStatus(path).getLen()
