"""The cache of object code: nothing of another user is ever loaded, nothing is ever raised."""

import errno
import os
import stat
import subprocess
import sys
import types
from pathlib import Path

import pytest

from hybrid.backends.cpu.machine import diskcache
from hybrid.backends.cpu.machine.diskcache import DiskCache, default_cache

KEY, BODY = bytes(range(32)), b"object code" * 50


@pytest.fixture
def cache(tmp_path):
    made = DiskCache(tmp_path / "c")
    made.put(KEY, BODY)
    assert made.get(KEY) == BODY
    return made


def the_file(cache):
    (path,) = Path(cache.folder).glob("*.o")
    return path


def owned_by(monkeypatch, name, uid):
    """Let `os.fstat` or `os.stat` report another owner."""
    real = getattr(os, name)

    def lie(*args, **kwargs):
        found = real(*args, **kwargs)
        fields = {n: getattr(found, n) for n in dir(found) if n.startswith("st_")}
        return types.SimpleNamespace(**fields | {"st_uid": uid})

    monkeypatch.setattr(diskcache.os, name, lie)


# ---- files
def test_a_file_of_another_user_is_a_miss(cache, monkeypatch):
    owned_by(monkeypatch, "fstat", os.geteuid() + 1)
    assert cache.get(KEY) is None


def test_a_file_of_root_is_a_miss_for_a_user(cache, monkeypatch):
    monkeypatch.setattr(diskcache.os, "geteuid", lambda: 12345)
    assert cache.get(KEY) is None


@pytest.mark.parametrize("mode", [0o666, 0o620, 0o602, 0o777])
def test_a_file_that_others_can_write_is_a_miss(cache, mode):
    the_file(cache).chmod(mode)
    assert cache.get(KEY) is None
    the_file(cache).chmod(0o644)
    assert cache.get(KEY) == BODY


def test_a_link_is_a_miss_even_to_a_good_file(cache, tmp_path):
    path = the_file(cache)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert cache.get(KEY) is None
    cache.put(KEY, BODY)  # replaces the link, not what it points to
    assert cache.get(KEY) == BODY and not path.is_symlink()


@pytest.mark.parametrize("kind", ["folder", "pipe", "dangling"])
def test_no_regular_file_is_a_miss(cache, kind):
    path = the_file(cache)
    path.unlink()
    {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "dangling": lambda: path.symlink_to("x"),
    }[kind]()
    assert cache.get(KEY) is None
    cache.put(KEY, BODY)
    assert cache.get(KEY) in (None, BODY)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
def test_a_file_given_away_is_a_miss(cache):
    os.chown(the_file(cache), 65534, 65534)
    assert cache.get(KEY) is None


# ---- folders
def test_a_folder_of_another_user_is_not_used(tmp_path, monkeypatch):
    owned_by(monkeypatch, "stat", os.geteuid() + 1)
    cache = DiskCache(tmp_path / "theirs")
    cache.put(KEY, BODY)
    monkeypatch.undo()
    assert cache.get(KEY) is None and not list((tmp_path / "theirs").iterdir())


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777, 0o702])
def test_a_folder_that_others_can_write_is_not_used(tmp_path, mode):
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(mode)
    cache = DiskCache(folder)
    cache.put(KEY, BODY)
    assert cache.get(KEY) is None and not list(folder.iterdir())


def test_a_relative_folder_stays_where_it_was(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    cache = DiskCache("c")
    cache.put(KEY, BODY)
    monkeypatch.chdir(tmp_path / "b")
    assert cache.get(KEY) == BODY
    cache.put(KEY[::-1], BODY)
    assert os.path.isabs(cache.folder) and not list((tmp_path / "b").iterdir())


def test_a_link_to_the_folder_is_followed_once(tmp_path):
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "other").mkdir(mode=0o700)
    link = tmp_path / "link"
    link.symlink_to("real")
    cache = DiskCache(link)
    cache.put(KEY, BODY)
    link.unlink()
    link.symlink_to("other")
    assert cache.get(KEY) == BODY
    assert DiskCache(link).get(KEY) is None


# ---- the environment
def test_the_folder_of_the_environment_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYBRID_CACHE", "1")
    monkeypatch.setenv("HYBRID_CACHE_DIR", "relative/cache")
    assert default_cache().folder == str(tmp_path / "relative" / "cache")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HYBRID_CACHE_DIR", "~/mine")
    assert default_cache().folder == str(tmp_path / "home" / "mine")


def test_xdg_cache_home(tmp_path, monkeypatch):
    monkeypatch.delenv("HYBRID_CACHE_DIR", raising=False)
    monkeypatch.setenv("HYBRID_CACHE", "1")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache().folder == str(tmp_path / "xdg" / "hybrid")
    for ignored in ("relative", "", "./x", "~"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert default_cache().folder == str(tmp_path / "home" / ".cache" / "hybrid")


@pytest.mark.parametrize("home", ["", ".", "relative"])
def test_a_home_that_is_no_place_means_no_cache(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYBRID_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HYBRID_CACHE", "1")
    monkeypatch.setenv("HOME", home)
    assert default_cache() is None and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["/proc/no/such", "/dev/null/x", "a\0b", "x" * 5000, "\udcff/\ud800", "/", "/tmp"]
)
def test_impossible_folders_are_misses(name):
    cache = DiskCache(name)
    cache.put(KEY, BODY)
    assert cache.get(KEY) in (None, BODY)
    if name in ("/", "/tmp") and os.geteuid() == 0:
        for left in Path(name).glob(f"{KEY.hex()}.o"):
            left.unlink()


def test_a_folder_that_vanishes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    here.rmdir()
    cache = DiskCache("c")  # there is no current directory any more
    cache.put(KEY, BODY)
    assert cache.get(KEY) is None


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("name", ["replace", "open", "fdopen"])
def test_full_and_read_only_disks(cache, monkeypatch, name, code):
    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(diskcache.os, name, fail)
        cache.put(KEY[::-1], BODY)
    assert cache.get(KEY[::-1]) is None and cache.get(KEY) == BODY
    assert not [p for p in Path(cache.folder).iterdir() if p.suffix == ".tmp"] or name == "fdopen"


def test_a_read_only_file_system_still_gives_old_files(cache, monkeypatch):
    path = the_file(cache)
    os.utime(path, (1, 1))
    monkeypatch.setattr(
        diskcache.os, "utime", lambda *a, **k: (_ for _ in ()).throw(OSError(errno.EROFS, "ro"))
    )
    assert cache.get(KEY) == BODY


def test_files_are_made_for_this_user_only(cache):
    old = os.umask(0)
    try:
        cache.put(KEY[::-1], BODY)
    finally:
        os.umask(old)
    for path in Path(cache.folder).iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    assert stat.S_IMODE(os.stat(cache.folder).st_mode) & 0o022 == 0


def test_a_process_without_a_usable_cache_works_and_says_nothing(tmp_path):
    (tmp_path / "file").write_text("no folder")
    env = os.environ | {
        "HYBRID_CACHE": "1",
        "HYBRID_CACHE_DIR": str(tmp_path / "file" / "c"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    code = "import hybrid as hb; print((hb.ones(3) + 1).sum().item())"
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "6.0\n", "")
