"""Tail sampling: which rule keeps a trace, what the environment may change, and what a cap drops."""

from __future__ import annotations

import random

import pytest

from gateway.observer.sampling import Policy, Sampler, Tail99, policy_of


def rule(record, policy: Policy | None = None) -> str:
    return Sampler(policy or Policy(ratio=0.0)).rule(record)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ""),
        ({"parent": "a" * 16, "flags": "01"}, "upstream"),
        ({"parent": "", "flags": "01"}, "setting"),  # nobody upstream: a trace setting marked it
        ({"parent": "a" * 16, "flags": "00", "status": "INTERNAL"}, "error"),
        ({"parent": "a" * 16, "flags": "01", "auth": "none"}, ""),  # a stranger cannot make us sample
        ({"status": "RESOURCE_EXHAUSTED", "outcome": "refused"}, "shed"),
        ({"status": "DEADLINE_EXCEEDED", "outcome": "expired"}, "deadline"),
        ({"status": "UNAVAILABLE", "outcome": "failed"}, "error"),
        ({"status": "PERMISSION_DENIED", "outcome": "denied"}, "deny"),
        ({"status": "INVALID_ARGUMENT", "outcome": "refused"}, ""),
        ({"trace": ""}, ""),
    ],
)
def test_the_first_rule_that_matches(record, changes: dict[str, object], expected: str) -> None:
    assert rule(record(**changes)) == expected


@pytest.mark.parametrize(("trust", "expected"), [("always", "upstream"), ("authenticated", ""), ("never", "")])
def test_who_is_believed_about_sampling(record, trust, expected: str) -> None:
    stranger = record(parent="a" * 16, flags="01", auth="none")
    assert rule(stranger, Policy(ratio=0.0, trust=trust)) == expected


def test_ratio_keeps_the_share_and_every_replica_keeps_the_same_ones(record) -> None:
    dice = random.Random(3)
    traces = [f"{dice.getrandbits(128):032x}" for _ in range(4000)]

    def kept() -> list[str]:
        sampler = Sampler(Policy(ratio=0.1, per_second=10**9))
        return [t for t in traces if sampler.rule(record(trace=t))]

    assert kept() == kept()
    assert 0.08 < len(kept()) / len(traces) < 0.12


def test_an_unsampled_parent_is_not_sampled_by_ratio_unless_parents_do_not_count(record) -> None:
    child = record(parent="a" * 16, flags="00")
    assert rule(child, Policy(ratio=1.0)) == ""
    assert rule(child, Policy(ratio=1.0, parent_based=False)) == "ratio"


def test_caps_hold_each_second_and_storms_have_their_own(record) -> None:
    sampler = Sampler(Policy(per_second=10, storm_per_second=3))
    storm = [sampler.rule(record(n, t_us=0, status="RESOURCE_EXHAUSTED")) for n in range(50)]
    assert storm.count("shed") == 3
    rest = [sampler.rule(record(n, t_us=5)) for n in range(50)]
    assert rest.count("ratio") == 7
    assert sampler.capped == 90
    assert sampler.rule(record(t_us=1_000_000)) == "ratio"


def test_a_call_above_its_models_rolling_p99_is_slow(record) -> None:
    dice = random.Random(5)
    sampler = Sampler(Policy(ratio=0.0, per_second=10**9))
    kept = [sampler.rule(record(n, dur_us=round(dice.lognormvariate(7, 0.5)))) for n in range(20_000)]
    assert 0.003 < kept.count("slow") / len(kept) < 0.02
    assert sampler.rule(record(dur_us=10**7)) == "slow"
    assert sampler.rule(record(dur_us=10**7, model="other")) == ""  # nothing is known of it yet


def test_the_tail_follows_when_all_calls_become_slower() -> None:
    tail = Tail99()
    for _ in range(10_000):
        tail.exceeds(1000)
    assert tail.exceeds(100_000)
    for _ in range(30_000):
        tail.exceeds(100_000)
    assert not tail.exceeds(100_000)


@pytest.mark.parametrize(
    ("name", "argument", "expected"),
    [
        ("", "", Policy(ratio=0.5)),
        ("always_on", "", Policy(ratio=1.0, parent_based=False)),
        ("parentbased_always_on", "", Policy(ratio=1.0)),
        ("always_off", "", Policy(ratio=0.0, parent_based=False, off=True)),
        ("traceidratio", "0.25", Policy(ratio=0.25, parent_based=False)),
        ("parentbased_traceidratio", "0.25", Policy(ratio=0.25)),
    ],
)
def test_the_samplers_variable_means_what_it_means_everywhere(name: str, argument: str, expected: Policy) -> None:
    environ = {"OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": argument}
    assert policy_of(environ, Policy(ratio=0.5)) == expected


@pytest.mark.parametrize(("name", "argument"), [("sometimes", ""), ("traceidratio", "2"), ("traceidratio", "half")])
def test_a_sampler_that_cannot_be_is_named(name: str, argument: str) -> None:
    with pytest.raises(ValueError, match=f"OTEL_TRACES_SAMPLER.*'{argument or name}'"):
        policy_of({"OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": argument}, Policy())


def test_always_off_keeps_nothing_at_all(record) -> None:
    assert rule(record(status="INTERNAL"), Policy(off=True)) == ""
