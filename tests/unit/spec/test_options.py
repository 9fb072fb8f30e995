"""The text of ``run``'s flags as values."""

import signal

import pytest

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec import options
from kernel_sandbox.spec.options import Bind, Network


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("/a:/b", Bind("/a", "/b")),
        ("/a:/b:rw", Bind("/a", "/b")),
        ("/a b:/c d:ro", Bind("/a b", "/c d", readonly=True)),
        ("/a:/b/", Bind("/a", "/b")),
        ("/a://b/./c/../d", Bind("/a", "/b/d")),
    ],
)
def test_volumes(text, bind):
    assert options.parse_bind(text) == bind


@pytest.mark.parametrize(
    "text", ["", "/a", "/a:", ":/b", "a:/b", "/a:b", "/a:/", "/a://", "/a:/x/..", "/a:/b:x", "/a:/b:ro:rw"]
)
def test_bad_volumes(text):
    with pytest.raises(UsageError, match="invalid volume"):
        options.parse_bind(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [("TERM", signal.SIGTERM), ("sigint", signal.SIGINT), ("SIGKILL", 9), ("9", 9), ("64", 64), ("RTMIN", 34)],
)
def test_signals(text, number):
    assert options.parse_signal(text) == number


@pytest.mark.parametrize("text", ["", "0", "65", "-9", "NOSUCH", "SIG", "9.5", "²"])
def test_bad_signals(text):
    with pytest.raises(UsageError):
        options.parse_signal(text)


@pytest.mark.parametrize(
    ("text", "result"),
    [("A=1", "A=1"), ("A=", "A="), ("A=b=c", "A=b=c"), ("OWN", "OWN=mine"), ("OTHER", None), ("a b=c", "a b=c")],
)
def test_environment_variables(text, result):
    assert options.parse_env(text, {"OWN": "mine"}) == result


@pytest.mark.parametrize("text", ["", "="])
def test_bad_environment_variables(text):
    with pytest.raises(UsageError):
        options.parse_env(text, {})


def test_labels():
    assert [options.parse_label(text) for text in ("a=1", "a", "a=b=c")] == [("a", "1"), ("a", ""), ("a", "b=c")]
    with pytest.raises(UsageError):
        options.parse_label("=x")


def test_networks():
    assert [options.parse_network(text) for text in ("none", "host")] == [Network.NONE, Network.HOST]
    with pytest.raises(UsageError, match="bridge9"):
        options.parse_network("bridge9")


@pytest.mark.parametrize(
    ("name", "valid"), [("ab", 1), ("a.b_c-9", 1), ("a", 0), ("-ab", 0), ("a/b", 0), ("ä1", 0), ("a\n", 0)]
)
def test_container_names(name, valid):
    if valid:
        assert options.checked_name(name) == name
        return
    with pytest.raises(UsageError):
        options.checked_name(name)


@pytest.mark.parametrize(
    ("name", "valid"), [("a", 1), ("my_host.example", 1), ("n" * 64, 1), ("n" * 65, 0), ("a\nb", 0)]
)
def test_host_names(name, valid):
    if valid:
        assert options.checked_hostname(name) == name
        return
    with pytest.raises(UsageError):
        options.checked_hostname(name)
