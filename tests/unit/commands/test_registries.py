"""``login``, ``search`` and ``manifest`` without a registry: what they refuse, and how what is found is shown."""

import json
from contextlib import nullcontext

import pytest

from kernel_sandbox.commands import Context, invoke
from kernel_sandbox.engine import registry_access
from kernel_sandbox.errors import SandboxError
from kernel_sandbox.spec.distribution import SearchResult


def refused(tmp_path, *words: str, stdin: bytes = b"", **settings) -> str:
    """The complaint about a command line that needs no store, of a front end with these settings."""
    (tmp_path / "stdin").write_bytes(stdin)
    with open(tmp_path / "stdin", "rb") as file, pytest.raises(SandboxError) as caught:
        invoke(words, Context(pytest.fail, file.fileno(), {"HOME": str(tmp_path)}, **settings))
    assert caught.value.exit_code == 1
    return str(caught.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-u", "a", "-p", "b", "--password-stdin"), "cannot specify both --password and --password-stdin"),
        (("--password-stdin",), "the --password-stdin option requires --username to be set"),
        (("--password-stdin", "-u", ""), "the --password-stdin option requires --username to be set"),
        (("-u", "", "-p", "b"), "username is empty"),
        (("-u", "a", "-p", ""), "password is empty"),
        ((), "Cannot perform an interactive login from a non TTY device"),
        (("-u", "a"), "Cannot perform an interactive login from a non TTY device"),
        (("-p", "b"), "Cannot perform an interactive login from a non TTY device"),
        (("-u", "a", "--password-stdin"), "Cannot perform an interactive login from a non TTY device"),
        (("-u", "a", "b c"), "unable to parse server address 'b c'"),
        (("-u", "a", "https://../x"), "unable to parse server address 'https://../x'"),
        (("a", "b"), "requires at most 1 argument"),
    ],
)
def test_login_is_told_what_it_needs(tmp_path, words, said):
    assert said in refused(tmp_path, "login", *words)


@pytest.mark.parametrize("stdin", [b"\xff", b"x" * 70_000])
def test_what_is_no_password_is_refused(tmp_path, stdin):
    complaint = refused(tmp_path, "login", "-u", "alice", "--password-stdin", stdin=stdin)
    assert complaint == "standard input is no password: it is too long, or not UTF-8"


@pytest.mark.parametrize(
    ("answers", "said"),
    [((" \n",), "Non-null Username Required"), (("alice\n", "\n"), "Password Required"), (("alice\n", ""), "Password")],
)
def test_an_empty_answer_is_none(tmp_path, answers, said):
    given, asked = iter(answers), []

    def ask(question: str, secret: bool) -> str:
        asked.append((question, secret))
        return next(given)

    assert said in refused(tmp_path, "login", "x.example", ask=ask)
    assert asked == [("Username: ", False), ("Password: ", True)][: len(answers)]


def test_a_password_on_the_command_line_is_warned_of_before_it_is_used(tmp_path):
    told = []
    refused(tmp_path, "login", "-p", "s3cret", telling=lambda: nullcontext(told.append))
    assert list(map(str, told)) == ["WARNING! Using --password via the CLI is insecure. Use --password-stdin."]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--limit", "101", "x"), "Limit 101 is outside the range of [1, 100]"),
        (("--filter", "color=red", "x"), "Invalid filter 'color'"),
        (("--filter", "stars=many", "x"), "Invalid filter 'stars=many'"),
        (("--filter", "is-official=maybe", "x"), "Invalid filter 'is-official=[maybe]'"),
        (("http://x",), 'Invalid repository name (ex: "registry.domain.tld/myrepos")'),
        ((), "\"kernel-sandbox search\" requires exactly 1 argument; see 'kernel-sandbox search --help'"),
    ],
)
def test_search_is_told_what_it_cannot_do(tmp_path, words, said):
    assert refused(tmp_path, "search", *words) == said


def test_a_wrong_reference_has_no_manifest(tmp_path):
    said = "invalid reference format: repository name (library/Foo) must be lowercase"
    assert refused(tmp_path, "manifest", "inspect", "Foo") == said


FOUND = (
    SearchResult("busybox", "Busybox base image. With a long description that is longer\nthan most", 3000, True),
    SearchResult("me/busybox", None, 2),
    SearchResult("b/zz", "exactly forty five characters of text here..", 2),
    SearchResult("bad\x1b[2J", "clears\x1b[2Jthe screen", 20),
)


@pytest.fixture
def found(monkeypatch):
    """``found("search", …)`` is what is printed where Docker Hub finds ``FOUND``; ``found.asked``: how it was asked."""

    def print_(*words: str) -> str:
        return invoke(words, Context(pytest.fail)).printed()

    def search(environment, *asked):
        print_.asked = asked
        return FOUND

    monkeypatch.setattr(registry_access, "search", search)
    return print_


def test_search_shows_dockers_table(found):
    assert found("search", "busybox") == (
        "NAME         DESCRIPTION                                     STARS     OFFICIAL\n"
        "busybox      Busybox base image. With a long description …   3000      [OK]\n"
        "me/busybox                                                   2         \n"
        "b/zz         exactly forty five characters of text here..    2         \n"
        "bad[2J       clears [2Jthe screen                            20        \n"
    )
    assert found.asked == ("docker.io", "busybox", 25)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("--filter", "stars=3"), "busybox bad[2J"),
        (("--filter", "stars=2", "--filter", "stars=100"), "busybox"),
        (("--filter", "is-official=false"), "me/busybox b/zz bad[2J"),
        (("--filter", "is-official=true", "--filter", "stars=9000"), ""),
    ],
)
def test_search_has_dockers_filters(found, words, names):
    assert found("search", *words, "--format", "{{.Name}}", "x").split("\n")[:-1] == names.split()


def test_search_says_all_to_templates(found):
    first, *_ = found("search", "--no-trunc", "--format", "json", "x").splitlines()
    assert json.loads(first) == {
        "Description": "Busybox base image. With a long description that is longer than most",
        "IsOfficial": "true", "Name": "busybox", "StarCount": "3000",
    }  # fmt: skip
    assert found("search", "--format", "{{.StarCount}}{{.IsOfficial}}", "x").splitlines()[:2] == ["3000[OK]", "2"]


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (("--limit", "7", "a/b"), ("docker.io", "a/b", 7)),
        (("--limit", "-1", "docker.io/x"), ("docker.io", "x", 25)),
        (("localhost/x",), ("localhost", "x", 25)),
        (("x.example:5000/a/b",), ("x.example:5000", "a/b", 25)),
        (("x.example/",), ("x.example", "", 25)),
    ],
)
def test_search_asks_the_registry_that_is_named(found, words, asked):
    found("search", *words)
    assert found.asked == asked
