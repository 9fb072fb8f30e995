"""The command tree says what its commands do, so that help imports none of them; and it says the same as they."""

from collections.abc import Iterator

import pytest

from kernel_sandbox import __version__
from kernel_sandbox.commands import Context, invoke
from kernel_sandbox.commands.command import Command, Group
from kernel_sandbox.commands.tree import root
from kernel_sandbox.errors import SandboxError


def entries(group: Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str, Command]]:
    for name, summary in group.summaries.items():
        command = group.find(name)
        assert command
        yield (*path, name), summary, command
        if isinstance(command, Group):
            yield from entries(command, (*path, name))


ENTRIES = tuple(entries(root))


def unused() -> Context:
    def fail() -> None:
        raise AssertionError("help needs no store")

    return Context(fail)  # type: ignore[arg-type]


@pytest.mark.parametrize(("path", "summary", "command"), ENTRIES, ids=[" ".join(path) for path, _, _ in ENTRIES])
def test_a_list_of_commands_says_what_their_own_help_begins_with(path, summary, command) -> None:
    about = " ".join(command.about.split())
    assert about.startswith(summary)
    shown = " ".join(invoke((*path, "--help"), unused()).text().split())
    assert shown.startswith(f"Usage: kernel-sandbox {' '.join(path)} [OPTIONS]")
    assert about in shown


@pytest.mark.parametrize("line", ["", "-h", "--help", "image", "image -h", "image --help"])
def test_a_group_lists_its_commands(line: str) -> None:
    group = line.split()[:1] == ["image"]
    text = invoke(line.split(), unused()).text()
    assert f"Usage: kernel-sandbox{' image' if group else ''} [OPTIONS] COMMAND [ARGS]..." in text
    assert "Give an image one more name." in text
    assert "__complete" not in text


@pytest.mark.parametrize("line", ["--version", "-v", "-v ps --nothing"])
def test_the_program_tells_its_version(line: str) -> None:
    assert invoke(line.split(), unused()).text() == f"kernel-sandbox version {__version__}"


@pytest.mark.parametrize(
    ("line", "complaint", "code"),
    [
        ("nothing", "'nothing' is not a kernel-sandbox command; see 'kernel-sandbox --help'", 1),
        ("image nothing", "'nothing' is not a kernel-sandbox image command; see 'kernel-sandbox image --help'", 1),
        ("tag one", "\"kernel-sandbox tag\" requires exactly 2 arguments; see 'kernel-sandbox tag --help'", 1),
        ("ps one", "\"kernel-sandbox ps\" accepts no arguments; see 'kernel-sandbox ps --help'", 1),
        ("container rm", '"kernel-sandbox container rm" requires at least 1 argument', 1),
        ("run", "\"kernel-sandbox run\" requires at least 1 argument; see 'kernel-sandbox run --help'", 1),
        ("import", '"kernel-sandbox import" requires at least 1 and at most 2 arguments', 1),
        ("ps -z", "unknown shorthand flag: 'z' in -z; see 'kernel-sandbox ps --help'", 125),
        ("--nothing ps", "unknown flag: --nothing; see 'kernel-sandbox --help'", 125),
        ("ps -n x one", 'invalid argument "x" for "-n, --last" flag', 125),
        ("run -m x", 'invalid argument "x" for "-m, --memory" flag', 125),
    ],
)
def test_a_wrong_line_is_told_where_it_is_wrong_first(line: str, complaint: str, code: int) -> None:
    with pytest.raises(SandboxError) as caught:
        invoke(line.split(), unused())
    assert str(caught.value).startswith(complaint)
    assert caught.value.exit_code == code


def test_a_variable_of_the_environment_stands_for_a_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    command = root.find("create")
    assert command
    (platform,) = (option for option in command.options if option.name == "platform")
    monkeypatch.setenv("DOCKER_DEFAULT_PLATFORM", "linux/arm64")
    assert platform.value(()) == "linux/arm64"
    assert platform.value(("linux/amd64",)) == "linux/amd64"
    monkeypatch.setenv("DOCKER_DEFAULT_PLATFORM", "")
    assert platform.value(()) == ""
