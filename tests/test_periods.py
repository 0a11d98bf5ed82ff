"""Periods as users write them: the exact span, the canonical label, and a refusal that says what would be right."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest

from clearyear.errors import InputError
from clearyear.periods import FREQUENCIES, Period, parse_period, periods_of, year_before


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("text", "start", "end", "label"),
    [
        ("2023", utc(2023, 1, 1), utc(2024, 1, 1), "2023--P1Y"),
        (" 2023 ", utc(2023, 1, 1), utc(2024, 1, 1), "2023--P1Y"),
        ("2023--P1Y", utc(2023, 1, 1), utc(2024, 1, 1), "2023--P1Y"),
        ("2023--P01Y", utc(2023, 1, 1), utc(2024, 1, 1), "2023--P1Y"),
        ("2021--P3Y", utc(2021, 1, 1), utc(2024, 1, 1), "2021--P3Y"),
        ("2023--P6M", utc(2023, 1, 1), utc(2023, 7, 1), "2023--P6M"),
        ("2023-06", utc(2023, 6, 1), utc(2023, 7, 1), "2023-06--P1M"),
        ("2023-12", utc(2023, 12, 1), utc(2024, 1, 1), "2023-12--P1M"),
        ("2022-12--P3M", utc(2022, 12, 1), utc(2023, 3, 1), "2022-12--P3M"),
        ("2023-07--P1Y", utc(2023, 7, 1), utc(2024, 7, 1), "2023-07--P1Y"),
        ("2023-11--P14M", utc(2023, 11, 1), utc(2025, 1, 1), "2023-11--P14M"),
        ("2024-02-29", utc(2024, 2, 29), utc(2024, 3, 1), "2024-02-29--P1D"),
        ("2023-06-01--P10D", utc(2023, 6, 1), utc(2023, 6, 11), "2023-06-01--P10D"),
        ("2023-12-25--P10D", utc(2023, 12, 25), utc(2024, 1, 4), "2023-12-25--P10D"),
        ("2023-05-01/2023-09-01", utc(2023, 5, 1), utc(2023, 9, 1), "2023-05-01--P123D"),
        (" 2023-05-01 / 2023-05-02 ", utc(2023, 5, 1), utc(2023, 5, 2), "2023-05-01--P1D"),
        (
            "2023-05-01T06:00:00/2023-05-02T06:00:00",
            utc(2023, 5, 1, 6),
            utc(2023, 5, 2, 6),
            "20230501T060000--20230502T060000",
        ),
        ("2023-05-01T02:00+02:00/2023-05-03T00:00Z", utc(2023, 5, 1), utc(2023, 5, 3), "2023-05-01--P2D"),
    ],
)
def test_span_and_label(text: str, start: datetime, end: datetime, label: str) -> None:
    period = parse_period(text)
    assert (period.start, period.end, period.label) == (start, end, label)


@pytest.mark.parametrize(
    "text", ["2023", "2023-06", "2022-12--P3M", "2023-06-01--P10D", "2023-05-01/2023-09-01", "all"]
)
def test_label_names_its_own_span(text: str) -> None:
    """What a folder is called can be given as the period again."""
    period = parse_period(text)
    assert parse_period(period.label) == period


def test_span_is_half_open() -> None:
    period = parse_period("2023")
    last = timedelta(microseconds=1)
    assert period.start in period
    assert period.end - last in period
    assert period.end not in period
    assert period.start - last not in period


def test_span_counts_in_utc_whatever_the_zone() -> None:
    period = parse_period("2023")
    east = timezone(timedelta(hours=2))
    assert datetime(2023, 1, 1, 1, 59, tzinfo=east) not in period
    assert datetime(2023, 1, 1, 2, 0, tzinfo=east) in period
    assert datetime(2024, 1, 1, 1, 59, tzinfo=east) in period


def test_all_holds_every_moment() -> None:
    period = parse_period("all")
    assert utc(1, 1, 1) in period
    assert utc(9999, 12, 31, 23, 59, 59) in period
    assert period.label == "all"


@pytest.mark.parametrize("text", ["2023", "all", "2023-05-01T06:00/2023-05-02"])
def test_survives_json(text: str) -> None:
    period = parse_period(text)
    assert Period.model_validate_json(period.model_dump_json()) == period


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cannot be read"),
        ("last year", "'last year' cannot be read"),
        ("23", "cannot be read"),
        ("2023-6", "cannot be read"),
        ("2023--1Y", "cannot be read"),
        ("2023--P1W", "cannot be read"),
        ("2023-13", r"is not a date \(month must be in 1..12"),
        ("2023-02-29", "is not a date"),
        ("0000", "is not a date"),
        ("2023--P9999Y", "is not a date"),
        ("2023-01-01--P99999999D", "is not a date"),
        ("2023-01-31--P1M", "is not a date"),
        ("2023--P0Y", "'2023--P0Y' is empty"),
        ("2023-05-01/2023-05-01", "is empty: it ends at 2023-05-01, not after its start 2023-05-01"),
        ("2023-05-02/2023-05-01", "is empty"),
        ("2023-05-01/", "cannot be read"),
        ("2023-05-01/tomorrow", "cannot be read .*'tomorrow'"),
        ("2023-05-01/2023-06-01/2023-07-01", "cannot be read"),
        ("0001-01-01T00:00+02:00/2023-01-01", "cannot be read"),
    ],
)
def test_refused_with_the_forms_there_are(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        parse_period(text)
    assert caught.value.exit_code == 2
    assert caught.value.do


def test_refusal_lists_every_form() -> None:
    with pytest.raises(InputError, match=r"a year \(2023\).*a month.*2023--P1Y.*start/end .*the end excluded.*or all"):
        parse_period("soon")


@pytest.mark.parametrize(
    ("due", "label"),
    [
        (utc(2024, 1, 1), "2023--P1Y"),
        (utc(2024, 12, 31, 23, 59), "2023--P1Y"),
        (datetime(2024, 1, 1, 0, 30, tzinfo=timezone(timedelta(hours=1))), "2022--P1Y"),  # still 2023 in UTC
    ],
)
def test_year_that_had_ended(due: datetime, label: str) -> None:
    assert year_before(due).label == label


@pytest.mark.parametrize(
    ("frequency", "span", "labels"),
    [
        ("annual", "2021--P3Y", ["2021--P1Y", "2022--P1Y", "2023--P1Y"]),
        ("annual", "2021-06-01/2023-06-01", ["2022--P1Y"]),
        ("annual-fy", "2021-07-01/2023-07-01", ["2021-07--P1Y", "2022-07--P1Y"]),
        ("annual-fy", "2021--P2Y", ["2021-07--P1Y"]),
        ("semiannual", "2023", ["2023-01--P6M", "2023-07--P6M"]),
        ("seasonal", "2022-12--P1Y", ["2022-12--P3M", "2023-03--P3M", "2023-06--P3M", "2023-09--P3M"]),
        ("seasonal", "2023", ["2023-03--P3M", "2023-06--P3M", "2023-09--P3M"]),
        ("quarterly", "2023", ["2023-01--P3M", "2023-04--P3M", "2023-07--P3M", "2023-10--P3M"]),
        ("monthly", "2023-11--P3M", ["2023-11--P1M", "2023-12--P1M", "2024-01--P1M"]),
        ("rolling-3-months", "2023-01--P5M", ["2023-01--P3M", "2023-02--P3M", "2023-03--P3M"]),
        ("rolling-3-years", "2019--P5Y", ["2019--P3Y", "2020--P3Y", "2021--P3Y"]),
        ("nov-mar", "2022--P2Y", ["2022-11--P5M"]),
        ("apr-oct", "2022--P2Y", ["2022-04--P7M", "2023-04--P7M"]),
        ("all", "2021--P3Y", ["2021--P3Y"]),
    ],
)
def test_span_cut_into_periods(frequency: str, span: str, labels: list[str]) -> None:
    found = periods_of(parse_period(span), frequency)
    assert [p.label for p in found] == labels
    assert found == [parse_period(label) for label in labels]


@pytest.mark.parametrize("frequency", [f for f in FREQUENCIES if not f.startswith("rolling")])
def test_neighbouring_spans_share_no_period(frequency: str) -> None:
    whole = periods_of(parse_period("2018--P4Y"), frequency)
    if frequency == "all":
        return
    cut = [p for span in ("2018--P2Y", "2020--P2Y") for p in periods_of(parse_period(span), frequency)]
    assert {p.label for p in cut} <= {p.label for p in whole}
    assert len({p.label for p in cut}) == len(cut)
    assert all(a.end <= b.start for a, b in pairwise(whole))


@pytest.mark.parametrize(
    ("frequency", "span", "words"),
    [
        ("weekly", "2023", "one of annual, annual-fy"),
        ("annual", "2023-06", "No whole annual period lies in 2023-06--P1M"),
        ("nov-mar", "2023", "No whole nov-mar period"),
        ("monthly", "all", "a span with two ends"),
        ("monthly", "9999-12-31/9999-12-31T12:00", "No whole monthly period"),
    ],
)
def test_span_that_cannot_be_cut(frequency: str, span: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        periods_of(parse_period(span), frequency)
    assert words in str(caught.value)


def test_earliest_and_latest_spans_end() -> None:
    assert periods_of(parse_period("0001"), "annual")[0].label == "0001--P1Y"
    assert len(periods_of(parse_period("9990-01-01/9999-12-31"), "annual")) == 8


def test_ends_may_be_years_and_months() -> None:
    assert parse_period("2021/2024") == parse_period("2021-01-01/2024-01-01")
    assert parse_period("2021-11/2022") == parse_period("2021-11-01/2022-01-01")
    with pytest.raises(InputError, match="is empty"):
        parse_period("2023/2023")


@pytest.mark.parametrize("frequency", [f for f in FREQUENCIES if f != "all"])
def test_every_label_means_its_period(frequency: str) -> None:
    for period in periods_of(parse_period("2015/2027"), frequency):
        assert parse_period(period.label) == period
