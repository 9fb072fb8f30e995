"""``events``: what has happened, and what happens."""

import json
import re
import signal
import time
from contextlib import suppress

import pytest
from support.containers import complaint
from support.store import Store
from support.waiting import wait_until

pytestmark = pytest.mark.same_for_every_user


def test_what_has_happened_to_a_container(shared_store: Store, name: str) -> None:
    since = str(int(time.time()))
    shared_store.cli("run", "--name", name, "-l", "a=b", "busybox", "sh", "-c", "exit 3")
    shared_store.cli("rm", name, check=True)
    done = shared_store.cli("events", "--since", since, "--until", _soon(), "-f", f"container={name}", check=True)
    lines = done.stdout.splitlines()
    for line in lines:
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}\S+ container \w+ [0-9a-f]{64} \(a=b, .*\)$", line)
    actions = [line.split()[2] for line in lines]
    assert [each for each in actions if each in ("create", "start", "die", "destroy")] == [
        "create", "start", "die", "destroy",
    ]  # fmt: skip
    died = next(line for line in lines if " die " in line)
    assert "exitCode=3" in died
    assert f"name={name}" in died


def test_filters_and_formats(shared_store: Store, name: str) -> None:
    since = str(int(time.time()))
    shared_store.cli("create", "--name", name, "-l", f"mark={name}", "busybox", "true", check=True)
    shared_store.cli("tag", "busybox", f"{name}:x", check=True)
    shared_store.cli("rmi", f"{name}:x", check=True)

    def found(*flags: str) -> list[str]:
        done = shared_store.cli("events", "--since", since, "--until", _soon(), *flags, check=True)
        return list(done.stdout.splitlines())

    assert len(found("-f", f"label=mark={name}")) == 1
    assert len(found("-f", f"label=mark={name}", "-f", "event=start")) == 0
    assert len(found("-f", f"container={name[:-2]}", "-f", "event=create")) == 1
    tagged = found("-f", "type=image", "-f", f"image={name}", "--format", "{{.Action}} {{.Status}} {{.ID}}")
    assert len(tagged) == 1
    assert re.fullmatch("tag tag sha256:[0-9a-f]{64}", tagged[0])
    event = json.loads(found("-f", f"label=mark={name}", "--format", "json")[0])
    assert list(event) == ["status", "id", "from", "Type", "Action", "Actor", "scope", "time", "timeNano"]
    assert (event["Type"], event["Action"], event["from"]) == ("container", "create", "busybox")
    assert event["Actor"]["Attributes"]["name"] == name
    assert event["timeNano"] // 10**9 == event["time"]


def test_what_happens_is_told_at_once_until_it_is_interrupted(shared_store: Store, name: str) -> None:
    shared_store.cli("create", "--name", name, "busybox", "true", check=True)
    with shared_store.start("events", "--since", "1m", "-f", f"container={name}", "--format", "{{.Action}}") as watcher:
        try:
            assert watcher.stdout is not None
            assert watcher.stdout.readline() == b"create\n"
            shared_store.cli("rm", name, check=True)
            assert watcher.stdout.readline() == b"destroy\n"
            watcher.send_signal(signal.SIGINT)
            wait_until(lambda: watcher.poll() is not None, 10)
            assert watcher.returncode == 130
        finally:
            with suppress(ProcessLookupError):
                watcher.kill()


def test_an_end_in_the_future_is_waited_for(shared_store: Store) -> None:
    start = time.monotonic()
    shared_store.cli("events", "--until", _soon(), "-f", "label=nosuch", check=True)
    assert time.monotonic() - start < 30


def test_what_is_wrong_is_named(shared_store: Store) -> None:
    wrong_time = complaint(shared_store.cli("events", "--since", "x", "--until", "0s"), 1)
    assert wrong_time == 'failed to parse value as time or duration: "x"'
    wrong = shared_store.cli("events", "--since", "1h", "--until", "0s", "--format", "{{.Action")
    assert "Error parsing format" in complaint(wrong, 64)


def _soon() -> str:
    """The end of this second: Docker counts whole ones."""
    return str(int(time.time()) + 1)
