"""The record's schema: one golden file per version decodes for ever, text is capped, bytes are stable."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ledger import leaf as leaves
from gateway.ledger import record
from gateway.ledger.events import MAX_LEAF
from gateway.ledger.record import Record

GOLDEN = Path(__file__).parent / "golden"


def full() -> Record:
    """A record with every field away from its default."""
    return Record(
        v=1, kind="call", shard="gw1.0", seq=123_456_789, boot="00112233aabbccdd", t_us=1_795_418_570_597_045,
        dur_us=1_234, tenant="acme", principal="app-scoring", kind_p="service", purpose="credit-scoring",
        auth="api_key", cred="k_7f3a", method="ModelInfer", action="infer:model_infer", asked="credit@canary",
        relaxed=True, model="credit", version="17", model_sha="a1" * 32, manifest_sha="b2" * 32, route="canary",
        rt="c3" * 8, batch_n=8, batch_i=2, allow=True, effect="warned", decision_id="d4" * 16,
        reasons=("rows.many", "hours.odd"), obligations=("limit", "mask_outputs"), policy_rev="2026-11-20",
        policy_sha="e5" * 32, engine="embedded", cached=True, cached_from="f6" * 16, in_c="01" * 32, out_c="02" * 32,
        pol_c="03" * 32, rows=2, in_b=240, out_b=16, payload="digest", score_bin=512, quality=("missing",),
        status="OK", outcome="answered", stage="record", error="none",
        ph={"authenticate": 10, "decide": 20, "queue": 40, "infer": 1_100, "record": 1_150}, trace="04" * 16,
        span="05" * 8, parent="06" * 8, flags="01", req="07" * 16, re=("gw1.0/1",), cut=True,
    )  # fmt: skip


def test_the_golden_leaf_of_every_version_decodes() -> None:
    files = sorted(GOLDEN.glob("record-v*.json"))
    assert [path.name for path in files] == [f"record-v{v}.json" for v in range(1, record.SCHEMA + 1)]
    assert record.decode((GOLDEN / "record-v1.json").read_bytes().strip()) == full()


def test_the_bytes_of_this_version_have_not_changed() -> None:
    assert leaves.encode(full()) == (GOLDEN / f"record-v{record.SCHEMA}.json").read_bytes().strip()


def test_every_field_is_in_the_golden_leaf() -> None:
    golden = json.loads((GOLDEN / f"record-v{record.SCHEMA}.json").read_text())
    assert list(golden) == list(Record.__struct_fields__)


def test_there_are_no_floats_and_no_nulls() -> None:
    kinds = {type(value) for value in json.loads(leaves.encode(full())).values()}
    assert kinds <= {int, str, bool, list, dict}


def test_an_older_reader_ignores_newer_fields() -> None:
    leaf = leaves.encode(full())[:-1] + b',"brand_new":7}'
    assert record.decode(leaf) == full()


def test_defaults_are_absent() -> None:
    assert leaves.encode(Record(v=1, kind="call", shard="s", seq=0)) == b'{"v":1,"kind":"call","shard":"s","seq":0}'


@settings(max_examples=60)
@given(
    st.sampled_from(["asked", "tenant", "principal", "purpose", "cred", "model"]), st.text(min_size=300, max_size=400)
)
def test_long_text_is_cut_and_said_so(name: str, text: str) -> None:
    leaf = leaves.encode(Record(v=1, kind="call", shard="s", seq=0, **{name: text}))  # type: ignore[arg-type]
    back = record.decode(leaf)
    assert back.cut
    assert getattr(back, name) == text[:256]


def test_no_record_outgrows_a_leaf() -> None:
    worst = {name: "\x00" * 5_000 for name in Record.__struct_fields__ if isinstance(getattr(full(), name), str)}
    lists = {name: ("\x00" * 5_000,) * 500 for name in ("reasons", "obligations", "quality", "re")}
    given_fields = worst | lists | {"seq": 0, "v": 1, "shard": "s", "ph": {"\x00" * 9: 1}}
    leaf = leaves.encode(Record(**given_fields))  # type: ignore[arg-type]
    assert len(leaf) <= MAX_LEAF
    assert record.decode(leaf).cut
