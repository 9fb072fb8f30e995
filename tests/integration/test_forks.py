"""A forked command does what the installed one does: ``support.forks``, on which most tests rely."""

import os
import subprocess

import pytest
from support import forks
from support.containers import is_alive
from support.store import COMMAND, Store
from support.waiting import wait_until

pytestmark = pytest.mark.same_for_every_user


@pytest.fixture(autouse=True)
def _asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KS_FORKED", "1")


@pytest.mark.parametrize(
    "arguments",
    [
        ("images", "-q"),
        ("nonsense",),
        ("inspect", "-f", "{{.Id", "busybox"),
        ("run", "--rm", "-i", "busybox", "sh", "-c", "wc -c; echo é >&2; exit 3"),
        ("run", "--rm", "-v", "./:/here", "-e", "WORD", "busybox", "sh", "-c", "echo $WORD; cat /here/file"),
        ("run", "--rm", "busybox", "sh", "-c", "kill -9 $$"),
    ],
    ids=lambda arguments: " ".join(arguments[:3]),
)
def test_its_answer_is_the_same(shared_store: Store, tmp_path, arguments) -> None:
    (tmp_path / "file").write_text("of the directory")
    environment = shared_store.environ({"WORD": "a word"})
    command = [COMMAND, *arguments]
    wanted = subprocess.run(
        command, input=b"\xff" * 300_000, capture_output=True, env=environment, cwd=tmp_path, timeout=30
    )
    found = forks.run(command, b"\xff" * 300_000, 30, environment, str(tmp_path))
    assert (found.returncode, found.stdout, found.stderr) == (wanted.returncode, wanted.stdout, wanted.stderr)


def test_one_that_takes_too_long_is_killed(shared_store: Store, name: str) -> None:
    command = [COMMAND, "run", "--rm", "--name", name, "busybox", "sleep", "100"]
    with pytest.raises(subprocess.TimeoutExpired):
        forks.run(command, b"", 1.5, shared_store.environ(), "/")
    wait_until(lambda: not shared_store.has_container(name))


def test_what_it_leaves_running_outlives_it(shared_store: Store, name: str) -> None:
    command = [COMMAND, "run", "-d", "--name", name, "busybox", "sleep", "100"]
    assert forks.run(command, b"", 30, shared_store.environ(), "/").returncode == 0
    pid = int(shared_store.cli("inspect", "-f", "{{.State.Pid}}", name, check=True).stdout)
    assert is_alive(pid)
    assert os.getpgid(pid) != os.getpgid(0)


def test_the_first_of_each_kind_runs_as_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "_kinds_run", set())
    assert not forks.can_run(["volume", "ls", "-q"], os.environ)
    assert forks.can_run(["volume", "ls", "-q"], os.environ)
    assert not forks.can_run(["volume", "ls"], os.environ)
    assert not forks.can_run(["volume", "ls", "-q"], {**os.environ, "PYTHONMALLOC": "debug"})
    monkeypatch.setenv("KS_FORKED", "")
    assert not forks.can_run(["volume", "ls", "-q"], os.environ)
