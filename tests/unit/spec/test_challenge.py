"""The grammar of WWW-Authenticate: every form that RFC 9110 knows."""

import pytest

from kernel_sandbox.errors import CorruptContent
from kernel_sandbox.spec.challenge import MAX_LENGTH, Challenge, parse

REALM = {"realm": "https://auth.example/token"}


def of(*values):
    return [(each.scheme, dict(each.parameters) or each.token68) for each in parse(values)]


@pytest.mark.parametrize(
    ("header", "meant"),
    [
        ('Bearer realm="https://auth.example/token"', [("bearer", REALM)]),
        ('BEARER  Realm = "https://auth.example/token" ', [("bearer", REALM)]),
        (
            'Bearer realm="a b",service="c,d=\\"e\\\\",scope=pull',
            [("bearer", {"realm": "a b", "service": 'c,d="e\\', "scope": "pull"})],
        ),
        (
            'Basic realm="x", Bearer realm=y,service=z',
            [("basic", {"realm": "x"}), ("bearer", {"realm": "y", "service": "z"})],
        ),
        ("Negotiate", [("negotiate", "")]),
        ("Negotiate, Basic realm=x", [("negotiate", ""), ("basic", {"realm": "x"})]),
        ("Negotiate YWJj==, Basic realm=x", [("negotiate", "YWJj=="), ("basic", {"realm": "x"})]),
        ("Bearer realm=", [("bearer", "realm=")]),
        (', ,\tBasic , realm="x" , ,, charset="UTF-8",', [("basic", {"realm": "x", "charset": "UTF-8"})]),
        ('New-Scheme title="", a=1', [("new-scheme", {"title": "", "a": "1"})]),
        ("Basic realm=first, realm=second", [("basic", {"realm": "first"})]),
        ("", []),
        (" , ", []),
    ],
)
def test_a_header_names_its_challenges(header, meant):
    assert of(header) == meant


def test_several_headers_are_one_list():
    assert of("Basic realm=x", 'Bearer realm="y"') == [("basic", {"realm": "x"}), ("bearer", {"realm": "y"})]


@pytest.mark.parametrize(
    "header", ['"x"', 'Basic realm="x', "Basic realm=x y=z", "Basic =x", "Bäsic", "Basic realm=http://x"]
)
def test_what_is_no_challenge_is_told_in_one_line(header):
    with pytest.raises(CorruptContent, match="invalid WWW-Authenticate: no scheme at"):
        parse([header])


@pytest.mark.parametrize("unit", ["a", "a ", 'a="', "a=b,", '\\"', ",", "a=", 'a="\\'])
def test_a_hostile_length_is_refused_and_one_below_it_takes_no_time(unit):
    with pytest.raises(CorruptContent, match=f"more than {MAX_LENGTH} characters"):
        parse([unit * (MAX_LENGTH + 1)])
    try:
        assert parse([unit * (MAX_LENGTH // len(unit) - 1)])
    except CorruptContent as error:
        assert len(str(error)) < 200
    except AssertionError:
        assert unit == ","


def test_a_challenge_says_what_it_is():
    assert Challenge("basic") == Challenge("basic", {}, "")
