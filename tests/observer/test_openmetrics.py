"""The text of a scrape: what each family looks like, and that no value can break out of its quotes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.observer.cells import Counter, Exemplar, Histogram
from gateway.observer.openmetrics import Gauge, escape, render, wants_openmetrics


def text(*families: Counter | Histogram | Gauge, openmetrics: bool = True) -> list[str]:
    return render(families, openmetrics=openmetrics).decode().splitlines()


def test_a_counter_has_help_type_and_total_and_the_text_ends_with_eof() -> None:
    counter = Counter("gateway_rows", "Rows.", ("model",))
    counter.add(("credit",), 3)
    assert text(counter) == [
        "# HELP gateway_rows Rows.",
        "# TYPE gateway_rows counter",
        'gateway_rows_total{model="credit"} 3',
        "# EOF",
    ]


def test_plain_text_names_the_counter_with_its_suffix_and_has_no_eof() -> None:
    counter = Counter("gateway_rows", "Rows.")
    counter.add(())
    expected = ["# HELP gateway_rows_total Rows.", "# TYPE gateway_rows_total counter", "gateway_rows_total 1"]
    assert text(counter, openmetrics=False) == expected


def test_a_histogram_is_cumulative_in_seconds_with_the_exemplar_on_its_bucket() -> None:
    histogram = Histogram("x_seconds", "X.", bounds=(1000, 5000), scale=1_000_000)
    for value in (1000, 1001, 9000):
        histogram.observe((), value)
    histogram.exemplify((), Exemplar("ab", 1001, 1_790_000_000_000_001))
    assert text(histogram)[2:-1] == [
        'x_seconds_bucket{le="0.001"} 1',
        'x_seconds_bucket{le="0.005"} 2 # {trace_id="ab"} 0.001001 1790000000.000001',
        'x_seconds_bucket{le="+Inf"} 3',
        "x_seconds_sum 0.011001",
        "x_seconds_count 3",
    ]
    assert not any("trace_id" in line for line in text(histogram, openmetrics=False))


def test_an_exemplar_of_a_series_that_was_never_observed_is_dropped() -> None:
    histogram = Histogram("x_seconds", "X.", ("m",), bounds=(1,))
    histogram.exemplify(("a",), Exemplar("ab", 1, 1))
    assert histogram.exemplars == {}


def test_info_and_unknown_gauges_in_both_formats() -> None:
    info = Gauge(name="gateway_build", help="B.", labels=("version",), cells={("1",): 1}, kind="info")
    alias = Gauge(name="nv_inference_count", help="N.", cells={(): 2}, kind="unknown")
    assert text(info)[1:3] == ["# TYPE gateway_build info", 'gateway_build_info{version="1"} 1']
    assert text(info, openmetrics=False)[1] == "# TYPE gateway_build_info gauge"
    assert text(alias)[1:3] == ["# TYPE nv_inference_count unknown", "nv_inference_count 2"]
    assert text(alias, openmetrics=False)[1] == "# TYPE nv_inference_count untyped"


def test_a_family_without_cells_is_left_out() -> None:
    assert text(Counter("a", "A.")) == ["# EOF"]


def test_a_name_that_stands_twice_is_refused() -> None:
    counter = Counter("a", "A.")
    counter.add(())
    with pytest.raises(ValueError, match="metric family a stands twice"):
        render([counter, counter])


def test_hostile_label_values_stay_on_their_line() -> None:
    counter = Counter("a", "A.", ("x",))
    counter.add(('q"uo\\te\nnew\r line}',))
    assert render([counter]).split(b"\n")[2] == b'a_total{x="q\\"uo\\\\te\\nnew\r line}"} 1'


@given(st.text())
def test_an_escaped_value_reads_back_as_it_was(value: str) -> None:
    escaped = escape(value)
    assert "\n" not in escaped
    read, at = "", 0
    while at < len(escaped):
        if escaped[at] == "\\":
            read += {"n": "\n", "\\": "\\", '"': '"'}[escaped[at + 1]]
            at += 2
        else:
            assert escaped[at] != '"'
            read += escaped[at]
            at += 1
    assert read == value.encode("utf-8", "replace").decode()


def test_openmetrics_unless_only_plain_text_is_accepted() -> None:
    assert wants_openmetrics("")
    assert wants_openmetrics("*/*")
    assert wants_openmetrics("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert not wants_openmetrics("text/plain")
