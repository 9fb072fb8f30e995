import pytest

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec.units import human_duration, human_size, parse_bytes

MINUTE, HOUR = 60, 3600
DAY, WEEK, MONTH, YEAR = 24 * HOUR, 7 * 24 * HOUR, 30 * 24 * HOUR, 365 * 24 * HOUR


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0B"), (999, "999B"), (1000, "1kB"), (4_261_550, "4.26MB"), (133_000_000, "133MB"), (2e9, "2GB")],
)
def test_tables_show_sizes_with_three_digits(size: float, shown: str) -> None:
    assert human_size(size) == shown


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (1024, "1.024kB"),
        (1048576, "1.049MB"),
        (3.42e9, "3.42GB"),
        (5.372e12, "5.372TB"),
        (2.22e15, "2.22PB"),
        (1e28, "1e+04YB"),
    ],
)
def test_totals_show_sizes_with_four_digits(size: float, shown: str) -> None:
    assert human_size(size, precision=4) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "Less than a second"),
        (0.45, "Less than a second"),
        (-3, "Less than a second"),
        (1.9, "1 second"),
        (59, "59 seconds"),
        (MINUTE, "About a minute"),
        (2 * MINUTE - 1, "About a minute"),
        (35 * MINUTE + 40, "35 minutes"),
        (59 * MINUTE, "59 minutes"),
        (HOUR, "About an hour"),
        (HOUR + 29 * MINUTE, "About an hour"),
        (HOUR + 31 * MINUTE, "2 hours"),
        (3 * HOUR + 31 * MINUTE, "4 hours"),
        (36 * HOUR, "36 hours"),
        (2 * DAY, "2 days"),
        (13 * DAY + 5 * HOUR, "13 days"),
        (2 * WEEK, "2 weeks"),
        (2 * WEEK + 4 * DAY, "2 weeks"),
        (MONTH, "4 weeks"),
        (MONTH + 2 * WEEK, "6 weeks"),
        (2 * MONTH, "2 months"),
        (24 * MONTH, "24 months"),
        (24 * MONTH + 2 * WEEK, "2 years"),
        (3 * YEAR + 2 * MONTH, "3 years"),
    ],
)
def test_ages_are_told_in_the_largest_fitting_unit(seconds: float, shown: str) -> None:
    assert human_duration(seconds) == shown


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("32", 32),
        ("32B", 32),
        ("64k", 64 << 10),
        ("32Kib", 32 << 10),
        ("512m", 512 << 20),
        ("32 mb", 32 << 20),
        ("1g", 1 << 30),
        ("1.5G", 3 << 29),
        (".5k", 512),
        ("32.3", 32),
        ("2t", 2 << 40),
        ("3PB", 3 << 50),
        ("9007199254740993", 2**53 + 1),
    ],
)
def test_sizes_are_read_in_binary_units(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "-32",
        " 32 ",
        "32m b",
        "32bm",
        "1x",
        ".",
        "1\n",
        "٣",
        "8192p",
        "9" * 400,
        "1.0" + "9" * 9 + "e",
    ],
)
def test_what_is_no_size_is_named(text: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parse_bytes(text)
    assert refusal.value.args == (f"invalid size: '{text}'",)
