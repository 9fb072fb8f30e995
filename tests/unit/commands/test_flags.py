"""Command lines as pflag reads them; ``tests/interop`` asks Docker's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_sandbox.commands.flags import MissingValue, split
from kernel_sandbox.commands.syntax import Option
from kernel_sandbox.errors import UsageError

OPTIONS = (
    Option(["-i", "--interactive"], is_flag=True),
    Option(["-t", "--tty"], is_flag=True),
    Option(["--rm", "remove"], is_flag=True),
    Option(["--sig-proxy"], type=bool, default=True),
    Option(["-e", "--env"], multiple=True),
    Option(["--name"]),
    Option(["-n", "--last"], type=int),
)


def read(line: str, interspersed: bool = False) -> tuple[tuple[str, ...], tuple[str, ...]]:
    found = split(line.split(), OPTIONS, interspersed)
    return tuple(_written(option, text) for option, texts in found.given.items() for text in texts), found.words


def _written(option: Option, text: str) -> str:
    name = max(option.opts, key=len)
    return name if option.is_flag else f"{name}={text}"


@pytest.mark.parametrize(
    ("line", "flags"),
    [
        ("-it", ("--interactive", "--tty")),
        ("-ti", ("--tty", "--interactive")),
        ("-it=false", ("--interactive",)),
        ("-i=0 --tty=T", ("--tty",)),
        ("--rm --rm=false", ()),
        ("--rm=false --rm", ("--rm",)),
        ("--sig-proxy", ("--sig-proxy=true",)),
        ("--sig-proxy=F", ("--sig-proxy=false",)),
        ("-eA=1", ("--env=A=1",)),
        ("-e=A=1", ("--env=A=1",)),
        ("-e A=1 --env=B=2 --env C=3", ("--env=A=1", "--env=B=2", "--env=C=3")),
        ("-ieA=1", ("--interactive", "--env=A=1")),
        ("-tie A", ("--tty", "--interactive", "--env=A")),
        ("--name=", ("--name=",)),
        ("--name --rm", ("--name=--rm",)),
        ("-n -1", ("--last=-1",)),
        ("-n=0x10", ("--last=16",)),
        ("-n010", ("--last=8",)),
        ("-n 1_000", ("--last=1000",)),
    ],
)
def test_flags_are_read_as_pflag_reads_them(line: str, flags: tuple[str, ...]) -> None:
    assert read(line) == (flags, ())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("busybox --rm -x", ("busybox", "--rm", "-x")),
        ("-- busybox -- x", ("busybox", "--", "x")),
        ("busybox -- x", ("busybox", "--", "x")),
        ("- --rm", ("-", "--rm")),
        ("-- --rm", ("--rm",)),
    ],
)
def test_flags_end_at_the_first_word(line: str, words: tuple[str, ...]) -> None:
    assert read(line) == ((), words)


def test_where_flags_may_stand_anywhere_two_dashes_end_them() -> None:
    assert read("one --rm two -- -i", interspersed=True) == (("--rm",), ("one", "two", "-i"))


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("--x", "unknown flag: --x"),
        ("--x=1", "unknown flag: --x"),
        ("--nam x", "unknown flag: --nam"),
        ("-iz", "unknown shorthand flag: 'z' in -z"),
        ("-zi", "unknown shorthand flag: 'z' in -zi"),
        ("-i=", "unknown shorthand flag: '=' in -="),
        ("--=x", "bad flag syntax: --=x"),
        ("---x", "bad flag syntax: ---x"),
        ("--rm=maybe", 'invalid argument "maybe" for "--rm" flag: strconv.ParseBool: parsing "maybe": invalid syntax'),
        ("-it=2", 'invalid argument "2" for "-t, --tty" flag: strconv.ParseBool: parsing "2": invalid syntax'),
        ("-n x", 'invalid argument "x" for "-n, --last" flag: strconv.ParseInt: parsing "x": invalid syntax'),
        ("-n 08", 'invalid argument "08" for "-n, --last" flag: strconv.ParseInt: parsing "08": invalid syntax'),
        (
            "-n 9223372036854775808",
            'invalid argument "9223372036854775808" for "-n, --last" flag: '
            'strconv.ParseInt: parsing "9223372036854775808": value out of range',
        ),
    ],
)
def test_mistakes_are_told_in_pflags_words(line: str, complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(line)
    assert str(caught.value) == complaint


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("--name", "flag needs an argument: --name"),
        ("-e", "flag needs an argument: 'e' in -e"),
        ("-ie", "flag needs an argument: 'e' in -e"),
    ],
)
def test_a_missing_value_names_its_flag(line: str, complaint: str) -> None:
    with pytest.raises(MissingValue) as caught:
        read(line)
    assert str(caught.value) == complaint
    assert caught.value.option in OPTIONS


@given(st.lists(st.text()))
def test_every_command_line_is_read_or_refused_in_one_line(arguments: list[str]) -> None:
    try:
        found = split(arguments, OPTIONS, interspersed=False)
    except UsageError as error:
        assert "\n" not in str(error) or any("\n" in argument for argument in arguments)
    else:
        assert all(option in OPTIONS and texts for option, texts in found.given.items())
        assert list(found.words) == arguments[len(arguments) - len(found.words) :]


@given(st.text(), st.lists(st.text()))
def test_a_value_and_the_words_arrive_as_they_are(value: str, words: list[str]) -> None:
    found = split(["--name", value, "--", *words], OPTIONS, interspersed=False)
    assert ([*found.given.values()], found.words) == ([[value]], tuple(words))
