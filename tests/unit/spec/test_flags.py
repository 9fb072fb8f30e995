"""The text of flags as values: variables, labels, signals, policies, health checks, logging."""

import signal

import pytest

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec import flags
from kernel_sandbox.spec.image import Healthcheck
from kernel_sandbox.spec.options import RestartPolicy

OWN = {"OWN": "mine"}


@pytest.mark.parametrize(
    ("text", "number"),
    [("TERM", signal.SIGTERM), ("sigint", signal.SIGINT), ("SIGKILL", 9), ("9", 9), ("64", 64), ("RTMIN", 34),
     ("RTMIN+3", 37), ("SIGRTMAX-1", 63)],
)  # fmt: skip
def test_signals(text, number):
    assert flags.parse_signal(text) == number


@pytest.mark.parametrize("text", ["", "0", "65", "-9", "NOSUCH", "SIG", "9.5", "²", "RTMIN+99", "RTMAX+1", "RTMIN-1"])
def test_bad_signals(text):
    with pytest.raises(UsageError, match="Invalid signal"):
        flags.parse_signal(text)


@pytest.mark.parametrize(
    ("text", "result"),
    [("A=1", "A=1"), ("A=", "A="), ("A=b=c", "A=b=c"), ("OWN", "OWN=mine"), ("OTHER", None), ("a b=c", "a b=c")],
)
def test_environment_variables(text, result):
    assert flags.parse_env(text, OWN) == result


@pytest.mark.parametrize("text", ["", "="])
def test_bad_environment_variables(text):
    with pytest.raises(UsageError):
        flags.parse_env(text, {})


def test_a_file_of_variables_has_comments_and_takes_the_callers_own():
    content = b"\xef\xbb\xbfA=1\n# no\n\n  B= two words \nOWN\nUNSET\nC=a=b\r\n"
    assert flags.parse_pairs("f", content, OWN) == ("A=1", "B= two words ", "OWN=mine", "C=a=b")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"A B=1\n", "variable 'A B' contains whitespaces"),
        (b"ok=1\n=1\n", "no variable name on line '=1'"),
        (b"\xff=1\n", r"invalid utf8 bytes at line 1: \[255 61 49\]"),
    ],
)
def test_bad_files_of_variables(content, reason):
    with pytest.raises(UsageError, match=rf"^invalid env file \(f\): {reason}$"):
        flags.parse_pairs("f", content, {})


def test_labels():
    assert [flags.parse_label(text) for text in ("a=1", "a", "a=b=c")] == [("a", "1"), ("a", ""), ("a", "b=c")]
    with pytest.raises(UsageError, match="empty name"):
        flags.parse_label("=x")


def test_streams():
    assert flags.parse_stream("STDOUT") == "stdout"
    with pytest.raises(UsageError, match="valid streams are STDIN, STDOUT and STDERR"):
        flags.parse_stream("x")


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("", ("no", 0)),
        ("always", ("always", 0)),
        ("on-failure:3", ("on-failure", 3)),
        ("on-failure:", ("on-failure", 0)),
    ],
)
def test_restart_policies(text, policy):
    found = flags.parse_restart(text)
    flags.check_restart(found)
    assert found == RestartPolicy(*policy)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("bogus", "invalid restart policy 'bogus'"),
        ("on-failure:x", "maximum retry count must be an integer"),
        ("a:b:c", "maximum retry count must be an integer"),
        ("always:3", "maximum retry count cannot be used with restart policy 'always'"),
        ("on-failure:-1", "maximum retry count cannot be negative"),
    ],
)
def test_bad_restart_policies(text, complaint):
    with pytest.raises(UsageError, match=complaint):
        flags.check_restart(flags.parse_restart(text))


def test_health_checks():
    assert flags.health("", 0, 0, 0, 0, False) is None
    assert flags.health("", 0, 0, 0, 0, True) == Healthcheck(test=("NONE",))
    assert flags.health("", 10**9, 0, 0, 0, False) == Healthcheck(interval=10**9)
    check = Healthcheck(test=("CMD-SHELL", "true"), timeout=10**9, start_period=10**6, retries=2)
    assert flags.health("true", 0, 10**9, 10**6, 2, False) == check


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (("true", 0, 0, 0, 0, True), "--no-healthcheck conflicts with --health-\\* options"),
        (("", -1, 0, 0, 0, False), "--health-interval cannot be negative"),
        (("", 0, 0, 0, -1, False), "--health-retries cannot be negative"),
    ],
)
def test_bad_health_checks(values, complaint):
    with pytest.raises(UsageError, match=complaint):
        flags.health(*values)


def test_limits_of_logs():
    assert flags.log_limits("json-file", {}) == (None, 1)
    assert flags.log_limits("json-file", {"max-size": "10k", "max-file": "3"}) == (10240, 3)
    assert flags.log_limits("json-file", {"max-size": "-1", "labels": "a"}) == (None, 1)
    assert flags.log_limits("none", {}) == (None, 1)


@pytest.mark.parametrize(
    ("driver", "options", "complaint"),
    [
        ("bogus", {}, 'error looking up logging plugin bogus: plugin "bogus" not found'),
        ("json-file", {"bogus": "1"}, "unknown log opt 'bogus' for json-file log driver"),
        ("json-file", {"max-size": "1x"}, "failed to initialize logging driver: invalid size: '1x'"),
        ("json-file", {"max-file": "0"}, "max-file cannot be less than 1"),
        ("json-file", {"max-file": "x"}, "invalid syntax"),
    ],
)
def test_bad_logging(driver, options, complaint):
    with pytest.raises(UsageError, match=complaint):
        flags.log_limits(driver, options)


def test_a_quota():
    assert flags.storage_size(()) is None
    assert flags.storage_size([flags.parse_storage_option("size=1G")]) == 1 << 30
    with pytest.raises(UsageError, match="Unknown option bogus"):
        flags.storage_size([("bogus", "1")])
    with pytest.raises(UsageError, match="invalid storage option"):
        flags.parse_storage_option("size")
