"""``run`` exits with the command's status, or with Docker's own codes where there was no command to run."""

import pytest
from support.containers import complaint

pytestmark = pytest.mark.same_for_every_user


@pytest.mark.parametrize("status", [0, 1, 42, 125, 255])
def test_the_commands_status_is_runs_status(cli, status):
    done = cli("run", "--rm", "busybox", "sh", "-c", f"exit {status}")
    assert (done.returncode, done.stderr) == (status, "")


@pytest.mark.parametrize(("signal", "status"), [("KILL", 137), ("TERM", 143), ("ABRT", 134)])
def test_a_signal_is_128_and_its_number(cli, signal, status):
    # The first process of a pid namespace is safe from its own signals: a child dies, the shell says how.
    done = cli("run", "--rm", "busybox", "sh", "-c", f"sh -c 'kill -{signal} $$'; exit $?")
    assert done.returncode == status


@pytest.mark.parametrize(
    "arguments",
    [
        ("--memory", "12x", "busybox"),
        ("-m", "5m", "busybox", "true"),
        ("--pids-limit", "many", "busybox"),
        ("--no-such-flag", "busybox"),
        ("--network", "nowhere", "busybox"),
        ("--cap-add", "NOT_A_CAPABILITY", "busybox", "true"),
        ("--security-opt", "nonsense", "busybox", "true"),
        ("--security-opt", "seccomp=/nonexistent/profile.json", "busybox", "true"),
        ("-e", "=value", "busybox", "true"),
        ("-l", "=value", "busybox", "true"),
        ("-v", "rela/tive:/there", "busybox", "true"),
        ("--mount", "type=bind,src=/nonexistent/source,dst=/there", "busybox", "true"),
        ("-v", "/tmp:/there:maybe", "busybox", "true"),
        ("-v", "", "busybox", "true"),
        ("-w", "relative", "busybox", "true"),
        ("--name", "-bad-", "busybox", "true"),
        ("--hostname", "n" * 65, "busybox", "true"),
        ("--rm", "--user", "nobody-here", "busybox", "true"),
        ("--rm", "--user", "0:nogroup-here", "busybox", "true"),
        ("--rm", "--user", "4294967296", "busybox", "true"),
        ("--entrypoint", "", "busybox"),
        ("--pull", "never", "no-such-image", "true"),
        ("--pull", "never", "localhost/no-such-image:1.0", "true"),
        ("Bad_Reference", "true"),
        ("busybox:", "true"),
        ("busybox@sha256:1234", "true"),
        ("", "true"),
    ],
    ids=" ".join,
)
def test_what_fails_on_our_side_is_125(cli, arguments):
    assert complaint(cli("run", *arguments), 125)


def test_run_without_an_image_says_so(cli):
    assert "requires" in complaint(cli("run"), 1)


def test_what_is_refused_leaves_no_container(cli):
    before = cli("ps", "-aq").stdout
    for option in ("--name=-bad", "--memory=5m", "--cap-add=NONE_SUCH", "--workdir=relative"):
        assert cli("run", option, "busybox", "true").returncode == 125
    assert cli("ps", "-aq").stdout == before


def test_a_missing_image_is_named(cli):
    assert "no-such-image:latest" in complaint(cli("run", "--pull", "never", "no-such-image"), 125)


def test_a_missing_command_is_127(cli):
    assert "nothing-like-this" in complaint(cli("run", "--rm", "busybox", "nothing-like-this"), 127)
    assert "/no/such/path" in complaint(cli("run", "--rm", "busybox", "/no/such/path"), 127)


@pytest.mark.parametrize("command", ["/etc", "/etc/passwd"], ids=["a directory", "not executable"])
def test_what_cannot_be_invoked_is_126(cli, command):
    assert command in complaint(cli("run", "--rm", "busybox", command), 126)


def test_a_container_that_could_not_start_without_rm_is_listed_as_created(cli, name):
    assert cli("run", "--name", name, "busybox", "nothing-like-this").returncode == 127
    listed = next(line for line in cli("ps", "-a").stdout.splitlines() if name in line)
    assert "Created" in listed


@pytest.mark.parametrize(
    "arguments",
    [("rm", "unknown"), ("stop", "unknown"), ("kill", "unknown"), ("logs", "unknown"), ("wait", "unknown"),
     ("start", "unknown"), ("commit", "unknown"), ("export", "unknown"), ("rmi", "unknown"), ("tag", "unknown", "a"),
     ("import", "/nonexistent.tar")],
    ids=" ".join,
)  # fmt: skip
def test_commands_about_what_is_not_there_are_1(cli, arguments):
    assert complaint(cli(*arguments), 1)


def test_an_unknown_command_is_named_in_one_line(cli):
    assert "nonsense" in complaint(cli("nonsense"), 1)


def test_several_arguments_are_each_carried_out_and_each_failure_told(cli, name):
    cli("create", "--name", name, "busybox", check=True)
    done = cli("rm", "unknown-a", name, "unknown-b")
    assert (done.returncode, done.stdout) == (1, f"{name}\n")
    assert [line.rpartition(" ")[2] for line in done.stderr.splitlines()] == ["unknown-a", "unknown-b"]
