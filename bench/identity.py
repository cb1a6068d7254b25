"""What proving a caller and keeping obligations cost: ``python bench/identity.py``. CPU microseconds, best of 5."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import timeit
from collections.abc import Callable, Coroutine
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from machine import describe

from gateway.identity.api_keys import ApiKeys
from gateway.identity.chain import Chain
from gateway.identity.claims import ClaimRules
from gateway.identity.jwks import KeySet
from gateway.identity.jwt import Issuer, JwtTokens
from gateway.identity.key_file import KeyFile
from gateway.pipeline.counters import shared_counters
from gateway.pipeline.masking import masked
from gateway.pipeline.obligations import Obligations
from gateway.policy.obligations import Limit, MaskOutputs, Quota, RateLimit, merge
from gateway.serving.datatypes import join_elements
from gateway.serving.spec import TensorSpec
from gateway.types import (
    Action,
    Call,
    Context,
    Credentials,
    Decision,
    ModelRef,
    Tensor,
    TraceContext,
)

RUNS = 20_000
DECISION = Decision(id="d", allow=True, servable=None)
SCORE = Tensor(name="score", datatype="FP32", shape=(8,), data=bytes(32))
NAMES = Tensor(name="ssn", datatype="BYTES", shape=(8,), data=join_elements([b"123-45-6789"] * 8))


class Model:
    """A signature with two outputs."""

    outputs = (TensorSpec("score", "FP32", (-1,)), TensorSpec("ssn", "BYTES", (-1,)))


def now_s() -> float:
    return time.time_ns() / 1e9


def run(coroutine: Coroutine[object, object, object]) -> None:
    """Drive a coroutine that does not wait, as an event loop's step does."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("it waited")


class Shown:
    """A key set that is there."""

    def __init__(self, jwk: dict[str, object]) -> None:
        self.data = json.dumps({"keys": [jwk]}).encode()

    async def fetch(self) -> bytes:
        return self.data


KEY = ec.generate_private_key(ec.SECP256R1())
RULES = ClaimRules(issuer="https://idp.example", audiences=frozenset({"gateway"}))
JWK = {**ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True), "kid": "k"}
ISSUER = Issuer(RULES, KeySet(Shown(JWK), now_s))


def bearer() -> tuple[JwtTokens, str]:
    """Tokens of one issuer, and a token of the usual size."""
    now = int(now_s())
    claims = {"iss": RULES.issuer, "aud": "gateway", "sub": "u", "tenant": "t", "iat": now, "exp": now + 3600}
    groups = [f"group-{n}" for n in range(20)]
    token = jwt.encode({**claims, "groups": groups}, KEY, "ES256", headers={"kid": "k"})
    return JwtTokens([ISSUER], now_s), token


def credentials(folder: Path) -> dict[str, Callable[[], object]]:
    file = KeyFile(folder / "keys.json", now_s)
    key = [file.create(id=f"app-{n}", tenant="t")[0] for n in range(100)][50]
    keys = ApiKeys(folder / "keys.json", now_s)
    keys.open()
    chain = Chain(keys=keys)
    shown = Credentials(authorization=f"Bearer {key}")
    tokens, token = bearer()
    run(tokens.prove(token))
    return {
        "JWT, remembered": lambda: run(tokens.prove(token)),
        "JWT, ES256 verified": lambda: run(JwtTokens([ISSUER], now_s).prove(token)),
        "API key, lookup": lambda: keys.prove(key),
        "API key, whole chain": lambda: run(chain.authenticate(shown)),
    }


def obligations(folder: Path) -> dict[str, Callable[[], object]]:
    counters = shared_counters(
        rates=folder / "rates", quotas=folder / "quotas", boot="", clock_ns=time.monotonic_ns, clock_s=now_s
    )
    counters.open()
    apply = Obligations(counters=counters, clock_s=now_s, mask_key=b"k" * 32)
    context = Context(
        action=Action(group="inference", name="infer", service="", method=""),
        trace=TraceContext(trace_id="", span_id=""),
        credentials=Credentials(),
        received_us=0,
        received_ns=0,
    )
    call = Call(context=context, model=ModelRef("m"), inputs=(SCORE,))
    nothing, limit = merge(()), merge((Limit(max_batch=32, max_bytes=10**6),))
    rate = merge((RateLimit(key="t", rps=1e9, burst=1e9),))
    both = merge((RateLimit(key="t", rps=1e9, burst=1e9), Quota(key="t", limit=10**15, window="day")))
    mask = merge((MaskOutputs(names=("ssn",), how="zero"),))
    model = Model()
    return {
        "no obligation, before": lambda: apply.before(call, DECISION, nothing, model, 8, now_ns=0),
        "no obligation, after": lambda: apply.after((SCORE, NAMES), DECISION, nothing),
        "limit": lambda: apply.before(call, DECISION, limit, model, 8, now_ns=0),
        "rate limit": lambda: apply.before(call, DECISION, rate, model, 8, now_ns=0),
        "rate limit and quota": lambda: apply.before(call, DECISION, both, model, 8, now_ns=0),
        "mask, before": lambda: apply.before(call, DECISION, mask, model, 8, now_ns=0),
        "mask zero, after": lambda: apply.after((SCORE, NAMES), DECISION, mask),
        "mask hash of 8 strings": lambda: masked((SCORE, NAMES), {"ssn": "hash"}, b"k" * 32),
    }


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        cases = {**credentials(Path(folder)), **obligations(Path(folder))}
        for name, case in cases.items():
            best_s = min(timeit.repeat(case, number=RUNS, repeat=5, timer=time.process_time))
            print(f"{name:24} {best_s / RUNS * 1e6:6.2f} us")


if __name__ == "__main__":
    main()
