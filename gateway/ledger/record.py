"""The record of one call, schema version 1: what is written before an answer leaves.

A leaf of the ledger is one JSON object, encoded once and hashed as written; nobody decodes and
re-encodes it on the way to a hash, an export or a proof. Rules: keys in this order, an absent key
means its default, integers, strings, booleans and lists only (no floats: two encoders, two bytes).
Fields are only ever added, with defaults; ``v`` rises when a meaning changes. No tensor values, no
secrets, no prose from callers. Digests and ids are lower-case hex.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.ledger.reading import Whole, decoder_of

SCHEMA = 1

OUTCOMES = ("answered", "denied", "unauthenticated", "refused", "failed", "cancelled", "expired")
PHASES = ("authenticate", "decide", "queue", "infer", "record")
"""The handler's one list of phases: names in ``ph``, of spans and of metrics."""

TEXT, REASONS, OBLIGATIONS = 256, 64, 32
"""Caps: characters of a text, entries of ``reasons`` (and other lists), entries of ``obligations``."""

ROOMY = 16_384
"""A leaf beyond this many bytes is looked at in full; the format's limit is 65,535."""


class Record(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One call and how it ended (``kind`` "call"). ``shard`` and ``seq`` are its position and thereby its id."""

    v: Whole = 0  # always SCHEMA; the defaults of these four differ from any value, so they are always written
    kind: str = ""
    shard: str = ""
    seq: Whole = -1
    boot: str = ""  # id of the boot record: software, configuration, host, runtime
    t_us: Whole = 0  # receipt, wall clock, microseconds since 1970 UTC
    dur_us: Whole = 0  # monotonic, receipt until sealed
    tenant: str = ""
    principal: str = ""
    kind_p: str = ""
    purpose: str = ""
    auth: str = ""
    cred: str = ""  # public id of the credential, never the credential
    method: str = ""
    action: str = ""  # group:name, as policy saw it
    asked: str = ""  # the model reference as asked for
    relaxed: bool = False  # the answer did not wait for the commit
    model: str = ""
    version: str = ""
    model_sha: str = ""
    manifest_sha: str = ""
    route: str = ""
    rt: str = ""  # runtime fingerprint, explained in the boot record
    batch_n: Whole = 0  # rows of the batch that the model ran
    batch_i: Whole = 0  # first row of this call in it
    allow: bool = False
    effect: str = ""  # enforced, warned, grant:<id>
    decision_id: str = ""
    reasons: tuple[str, ...] = ()
    obligations: tuple[str, ...] = ()
    policy_rev: str = ""
    policy_sha: str = ""
    engine: str = ""
    cached: bool = False
    cached_from: str = ""
    in_c: str = ""  # salted commitments to inputs, outputs and the policy input
    out_c: str = ""
    pol_c: str = ""
    rows: Whole = 0
    in_b: Whole = 0
    out_b: Whole = 0
    payload: str = ""  # full, digest or none
    score_bin: Whole = -1
    quality: tuple[str, ...] = ()
    status: str = ""  # name of the Code
    outcome: str = ""  # one of OUTCOMES
    stage: str = ""  # where it ended
    error: str = ""  # reason label of our error class, no message
    ph: Mapping[str, Whole] = {}  # microseconds from receipt to the end of each phase reached
    trace: str = ""
    span: str = ""
    parent: str = ""
    flags: str = ""
    req: str = ""  # keyed digest of the caller's request id
    re: tuple[str, ...] = ()  # related prediction ids
    cut: bool = False  # something was too long and was cut

    @property
    def prediction_id(self) -> str:
        """``<shard>/<seq>``."""
        return f"{self.shard}/{self.seq}"


decode = decoder_of(Record)
"""The record in a leaf; unknown fields (from a newer minor schema) are ignored. Raises: LedgerCorrupt."""
