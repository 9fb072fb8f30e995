"""Times as Docker's command line reads them: each answer here is what Docker 20.10 gave."""

import pytest

from kernel_sandbox.errors import UsageError
from kernel_sandbox.spec.times import SECOND, duration, parse_duration, parse_time, rfc3339

NOW = 1_700_000_000 * SECOND + 5
EAST = 7200


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1h30m", 5400), ("1.5h", 5400), ("90s", 90), ("0", 0), ("+5s", 5), ("-5s", -5), (".5m", 30), ("1m.5s", 60.5),
        ("250ms", 0.25), ("1us", 1e-6), ("1µs", 1e-6), ("3ns", 3e-9),
    ],
)  # fmt: skip
def test_lengths_are_read_as_go_reads_them(text, seconds):
    assert parse_duration(text) == round(seconds * SECOND)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", 'invalid duration ""'),
        ("x", 'invalid duration "x"'),
        ("5", 'missing unit in duration "5"'),
        ("1h30", 'missing unit in duration "1h30"'),
        ("5d", 'unknown unit "d" in duration "5d"'),
        ("1h 30m", 'unknown unit "h " in duration "1h 30m"'),
        ("5000000000000000h", "invalid duration"),
        ("9" * 5000 + "h", "duration"),
    ],
)
def test_other_lengths_are_refused_in_go_words(text, complaint):
    with pytest.raises(UsageError, match=complaint):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("1h30m", "2023-11-14T20:43:20.000000000Z"),
        ("-5s", "2023-11-14T22:13:25.000000000Z"),
        ("0", "1970-01-01T00:00:00.000000000Z"),
        ("10", "1970-01-01T00:00:10.000000000Z"),
        ("1.5", "1970-01-01T00:00:01.500000000Z"),
        ("1700000000.000000001", "2023-11-14T22:13:20.000000001Z"),
        ("2013-01-01", "2012-12-31T22:00:00.000000000Z"),
        ("2013-01-01Z", "2013-01-01T00:00:00.000000000Z"),
        ("2013-01-01+02:00", "2012-12-31T22:00:00.000000000Z"),
        ("2013-01-01-02:00", "2013-01-01T02:00:00.000000000Z"),
        ("2013-01-01T10", "2013-01-01T08:00:00.000000000Z"),
        ("2013-01-01T1:00", "2012-12-31T23:00:00.000000000Z"),
        ("2013-01-01T10:00Z", "2013-01-01T10:00:00.000000000Z"),
        ("2013-01-01T10:00:01.5", "2013-01-01T08:00:01.500000000Z"),
        ("2026-11-22T04:00:00.123456789Z", "2026-11-22T04:00:00.123456789Z"),
    ],
)
def test_points_in_time_are_lengths_dates_or_seconds(text, meant):
    assert rfc3339(parse_time(text, NOW, EAST)) == meant


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("foo", 'failed to parse value as time or duration: "foo"'),
        ("12.", 'failed to parse value as time or duration: "12."'),
        ("9" * 5000, "failed to parse value as time or duration"),
        ("2013-13-01", 'parsing time "2013-13-01": month out of range'),
        ("2013-02-30", 'parsing time "2013-02-30": day out of range'),
        ("2013-01-01T10:00:60", 'parsing time "2013-01-01T10:00:60": second out of range'),
        ("2013-01-01 10:00", 'parsing time "2013-01-01 10:00": extra text: " 10:00"'),
        ("2013-1-1", 'parsing time "2013-1-1" as "2006-01-02": cannot parse "1-1" as "01"'),
        (
            "2013-01-01T10:00:00+0200",
            'parsing time "2013-01-01T10:00:00+0200" as "2006-01-02T15:04Z07:00": cannot parse ":00+0200" as "Z07:00"',
        ),
    ],
)
def test_other_points_in_time_are_refused_in_docker_words(text, complaint):
    with pytest.raises(UsageError) as raised:
        parse_time(text, NOW, EAST)
    assert complaint in str(raised.value)


@pytest.mark.parametrize("text", ["0s", "1ns", "1.5µs", "100ms", "1.5s", "30s", "1m30s", "1h0m0s", "27h2m5.25s"])
def test_lengths_are_written_as_go_writes_them(text):
    assert duration(parse_duration(text)) == text
