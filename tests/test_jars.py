"""The JARs that a session loads are the locked ones, or there is no session."""

from __future__ import annotations

import hashlib

import pytest

from cdp_spark import jars


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CDP_JARS", str(tmp_path))
    return tmp_path


def test_the_lock_names_coordinates_and_hashes_and_no_host():
    found = jars.locked()
    assert {jar.group for jar in found} == {"core", "jdbc", "s3"}
    assert all(jar.coordinate.count(":") == 2 for jar in found)
    assert "://" not in jars.LOCK.read_text()


def test_a_line_that_is_no_lock_line_is_named(tmp_path):
    lock = tmp_path / "jars.lock"
    lock.write_text("# comment\ncore a:b:1 abc\n")
    with pytest.raises(jars.JarError, match="jars.lock, line 2"):
        jars.locked(lock)


def test_a_missing_jar_says_how_to_get_it(cache):
    with pytest.raises(jars.JarError, match=r"python -m cdp_spark\.jars fetch core"):
        jars.paths(["core"])


def test_a_changed_jar_is_refused_even_after_it_was_good(cache):
    jar = jars.Jar("core", "a:b:1", hashlib.sha256(b"good").hexdigest())
    (cache / jar.file).write_bytes(b"good")
    assert jars.good(jar, cache)
    (cache / jar.file).write_bytes(b"bad!!")
    assert not jars.good(jar, cache)


def test_a_wrong_hash_is_not_kept(cache, tmp_path):
    jar = jars.Jar("core", "a:b:1", "0" * 64)
    got = tmp_path / "got.jar"
    got.write_bytes(b"other")
    with pytest.raises(jars.JarError, match="is not the locked"):
        jars._keep(jar, got, cache)
    assert not (cache / jar.file).exists()


def test_a_cluster_takes_the_official_graphframes():
    official = "io.graphframes:graphframes-spark4_2.13:0.9.2"
    found = jars.packages(["core"], official)
    assert official in found and not any(name.startswith(jars.GRAPHFRAMES) for name in found)
