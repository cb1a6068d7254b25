"""The usage report: whole, self-contained, and safe whatever the names are."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from gateway.cli.usage import app
from gateway.observer.charts import _round_up, bars, stacked
from gateway.observer.reconcile import Reconciliation
from gateway.observer.report import html_report
from gateway.observer.usage import HOUR_US, Key, Sums

EXACT = Reconciliation(ledger=3, billed=3, outside=0, others={}, broken={})
VOID = {"meta", "rect", "line"}


class Balance(HTMLParser):
    """Knows the elements and attributes, and whether each element that was opened was closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def document(usage: dict[Key, Sums], check: Reconciliation = EXACT) -> str:
    return html_report(usage, check, source="gw", window="all", made="now")


names = st.text(max_size=12)


keys = st.builds(Key, st.integers(0, 200).map(lambda n: n * HOUR_US), names, names, names, names)
counts = st.builds(Sums, requests=st.integers(0, 9), denied=st.integers(0, 9), rows=st.integers(0, 10**12))


@given(st.dictionaries(keys, counts, max_size=12))
def test_any_names_make_a_balanced_document_without_scripts(usage: dict[Key, Sums]) -> None:
    parsed = Balance(document(usage))
    assert parsed.open == []
    assert "script" not in parsed.names
    assert not parsed.attributes & {"src", "href", "onload", "onclick", "style"}


def test_hostile_names_stay_text() -> None:
    evil = "<script>alert(1)</script>"
    text = document({Key(0, evil, evil, evil, "1"): Sums(requests=1)})
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_the_plots_add_up_to_the_rows() -> None:
    usage = {Key(hour * HOUR_US, f"t{n}", "p", "m", "1"): Sums(requests=n + 1) for hour in range(3) for n in range(12)}
    text = document(usage)
    section = text[text.index("<h2>Requests by tenant") : text.index("<h2>Denials by tenant")]
    counted = [int(found) for found in re.findall(r"<title>[^<]*: (\d+)</title>", section)]
    assert sum(counted) == sum(sums.requests for sums in usage.values())
    assert "others" in section  # twelve tenants, eight colours


def test_a_tenant_has_one_colour_in_all_plots() -> None:
    usage = {
        Key(0, "busy", "p", "m", "1"): Sums(requests=9, denied=1),
        Key(0, "denied", "p", "m", "1"): Sums(requests=5, denied=5),
    }
    found = re.findall(r'fill="(#\w+)"><title>[^,]*, (\w+):', document(usage))
    assert len(found) == 4
    assert len(set(found)) == 2


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (1234, "1,234"), (1267.80391, "1,267.804"), (8e-5, "&lt; 0.001")]
)
def test_numbers_are_written_for_people(value: float, text: str) -> None:
    assert f">{text}</text>" in bars("t", {"x": value})


def test_more_than_three_days_are_drawn_by_day() -> None:
    usage = {Key(day * 24 * HOUR_US, "t", "p", "m", "1"): Sums(requests=1) for day in range(5)}
    assert "1970-01-05" in document(usage)


def test_a_clock_that_was_wrong_by_decades_makes_no_endless_plot() -> None:
    usage = {Key(hour * HOUR_US, "t", "p", "m", "1"): Sums(requests=1) for hour in (0, 500_000)}
    assert len(document(usage)) < 100_000


def test_what_does_not_reconcile_is_said_in_red() -> None:
    broken = Reconciliation(ledger=9, billed=3, outside=0, others={}, broken={})
    assert 'class="inexact" role="status">✗ reconciled: 9' in document({}, broken)


@pytest.mark.parametrize(("value", "expected"), [(0, 4), (1, 1), (3, 4), (9, 10), (10, 10), (41, 80), (999, 1000)])
def test_the_axis_ends_at_a_round_number(value: float, expected: float) -> None:
    assert _round_up(value) == expected
    assert f">{expected:,.10g}</text>" in stacked("t", ["a"], {"s": [value]})


def test_the_command_writes_the_file(shards, record, tmp_path: Path) -> None:
    shards.add(record(0))
    output = tmp_path / "usage.html"
    arguments = ["report", "--data", str(shards.root.parent), "--output", str(output)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "acme" in output.read_text()
