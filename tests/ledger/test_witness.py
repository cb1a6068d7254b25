"""Witnesses: they cosign what extends, refuse everything else by the specified status, and remember over restarts."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.ledger import heads, merkle, note, signature, trust
from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.cosign import NotCosigned, cosign, http
from gateway.ledger.logkeys import LogKeys
from gateway.ledger.notary import Notary
from gateway.ledger.note import BadSignature, Note, VerifierKey
from gateway.ledger.trust import BadPolicy
from gateway.ledger.witness import Witness, parse_request, request

from .conftest import Open, clock_us, fill
from .test_merkle import LEAVES, defined_root, read

LOG = Ed25519PrivateKey.generate()
LOG_KEY = signature.verifier_key("log.example/gov", LOG)
WITNESS = Ed25519PrivateKey.generate()


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    return Witness(tmp_path / "seen", "w.example/1", WITNESS, [LOG_KEY], clock_s=lambda: 1_700_000_000)


def head(size: int, *, origin: str = "log.example/gov", root: bytes | None = None) -> Note:
    made = Checkpoint(origin, size, root if root is not None else defined_root(LEAVES[:size]))
    return Note(str(made), (signature.sign(str(made), LOG_KEY, LOG, 0),))


def test_it_cosigns_what_extends_and_remembers(witness: Witness, tmp_path: Path) -> None:
    first = witness.add_checkpoint(request(0, [], head(5)))
    assert first.status == 200
    signed = head(5).signed_by(note.parse_signature(first.body.decode().rstrip("\n")))
    assert signature.verify(signed, [witness.key]) == {witness.key: 1_700_000_000}
    again = Witness(tmp_path / "seen", "w.example/1", WITNESS, [LOG_KEY], clock_s=lambda: 1_700_000_001)
    proof = merkle.consistency_proof(5, 13, read)
    assert again.add_checkpoint(request(5, proof, head(13))).status == 200
    assert again.add_checkpoint(request(13, [], head(13))).status == 200  # a lost answer, asked again
    assert again.latest("log.example/gov") == Checkpoint.parse(head(13).text)


@pytest.mark.parametrize(
    ("old", "proof", "signed", "status"),
    [
        (5, "5-13", head(13, root=bytes(32)), 422),
        (5, "", head(13), 422),
        (5, "4-13", head(13), 422),
        (5, "", head(5, root=bytes(32)), 422),
        (4, "4-13", head(13), 409),
        (0, "", head(13), 409),
        (9, "", head(5), 400),
        (5, "5-13", Note(head(13).text, head(5).signatures), 403),
        (5, "5-13", Note(head(13).text, ()).signed_by(note.Signature("x", b"abcd", b"e" * 64)), 403),
        (0, "", head(5, origin="other.example/gov"), 404),
    ],
)
def test_what_it_refuses(witness: Witness, old: int, proof: str, signed: Note, status: int) -> None:
    assert witness.add_checkpoint(request(0, [], head(5))).status == 200
    sizes = [int(part) for part in proof.split("-")] if proof else []
    hashes = merkle.consistency_proof(*sizes, read) if sizes else []
    reply = witness.add_checkpoint(request(old, hashes, signed))
    assert reply.status == status
    if status == 409:
        assert (reply.body, reply.content_type) == (b"5\n", "text/x.tlog.size")
    assert witness.latest("log.example/gov") == Checkpoint.parse(head(5).text)


def test_an_empty_tree_has_the_empty_root(witness: Witness) -> None:
    assert witness.add_checkpoint(request(0, [], head(0, root=bytes(32)))).status == 422
    assert witness.add_checkpoint(request(0, [], head(0))).status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old x\n\nz",
        b"old 01\n\nz",
        b"old 1\nAAAA\n\nz",
        b"old 1\n\nnothing",
        b"\xff\n\n",
        b"old %s\n\nz" % (b"9" * 5_000),
    ],
)
def test_garbage_is_a_bad_request(witness: Witness, body: bytes) -> None:
    assert witness.add_checkpoint(body).status == 400


def test_requests_read_back() -> None:
    proof = merkle.consistency_proof(5, 13, read)
    assert parse_request(request(5, proof, head(13))) == (5, proof, head(13))


@pytest.fixture
async def anchored(root: Path, open_shard: Open) -> VerifierKey:
    """A shard with two anchored heads; the key of its log."""
    ledger = await open_shard("gov")
    notary = Notary(root, LogKeys(root.parent / "keys" / "log"), clock_us=clock_us)
    notary.open()
    for _ in range(2):
        await fill(ledger, 300)
        notary.step()
        notary.anchor()
    notary.close()
    return notary.keyring.entries()[0].key


async def test_a_log_gets_its_head_cosigned_and_a_policy_is_met(
    root: Path, tmp_path: Path, anchored: VerifierKey
) -> None:
    witness = Witness(tmp_path / "seen", "w.example/1", WITNESS, [anchored], clock_s=lambda: 1_700_000_000)
    policy = tmp_path / "policy"
    lines = ["# who we trust", f"log {anchored}", f"witness w1 {witness.key}", f"witness w2 {_other()}"]
    policy.write_text("\n".join([*lines, "group g any w1 w2", "quorum g"]))
    wanted = trust.read(policy)
    assert "quorum 'g' is not met: cosigned by nobody" in wanted.unmet(heads.anchored(root / "gov")[-1].signed)

    def post(body: bytes) -> tuple[int, bytes]:
        reply = witness.add_checkpoint(body)
        return reply.status, reply.body

    assert len(cosign(root, "gov", post, [witness.key])) == 1
    signed = heads.anchored(root / "gov")[-1].signed
    assert wanted.unmet(signed) == ""
    assert "did not sign" in wanted.unmet(Note(signed.text, signed.signatures[1:]))
    assert cosign(root, "gov", post, [witness.key]) == []  # the same answer again adds nothing
    with pytest.raises(BadSignature):
        cosign(root, "gov", post, [VerifierKey(witness.key.name, witness.key.type, bytes(32))])
    with pytest.raises(NotCosigned, match="answered 500: broken"):
        cosign(root, "gov", lambda _: (500, b"broken"), [witness.key])
    with pytest.raises(NotCosigned, match="this log was rolled back"):
        cosign(root, "gov", lambda _: (409, b"999999\n"), [witness.key])
    for nonsense in (b"", b"x", b"9" * 5_000, b"\xb2"):
        with pytest.raises(NotCosigned, match="answered 409 without the size that it knows"):
            cosign(root, "gov", lambda _, body=nonsense: (409, body), [witness.key])  # type: ignore[misc]  # the loop's
    with pytest.raises(NotCosigned, match="does not answer"):
        cosign(root, "gov", http("http://127.0.0.1:9"), [witness.key])


def _other() -> VerifierKey:
    return signature.verifier_key("w.example/2", Ed25519PrivateKey.generate(), witness=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no quorum line"),
        ("quorum nobody", "'nobody' is not defined above"),
        ("quorum none\nquorum none", "there is one quorum line"),
        ("group g 3 {w}\nquorum g", "'w' is not defined above"),
        ("witness w {key}\ngroup g 2 w\nquorum g", "2 of 1 cannot be met"),
        ("witness w {key}\nwitness w {other}\nquorum w", "the name 'w' is taken"),
        ("witness w {key}\nwitness v {key}\nquorum w", "listed twice"),
        ("witness w {key}\ngroup g any w\ngroup h any w\nquorum g", "is a member twice"),
        ("witness w nonsense\nquorum w", "no verifier key"),
        ("party\nquorum none", "expected log, witness, group or quorum"),
    ],
)
def test_a_wrong_policy_names_its_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "policy"
    path.write_text(text.format(key=LOG_KEY, other=_other(), w="w"))
    with pytest.raises(BadPolicy, match=expected):
        trust.read(path)


def test_a_policy_that_is_no_text_is_said(tmp_path: Path) -> None:
    (tmp_path / "policy").write_bytes(b"log \xff\n")
    with pytest.raises(trust.BadPolicy, match="a policy is UTF-8 text"):
        trust.read(tmp_path / "policy")


def test_nested_groups_count_as_specified(tmp_path: Path) -> None:
    privates = [Ed25519PrivateKey.generate() for _ in range(5)]
    keys = [signature.verifier_key(f"w.example/{i}", key, witness=True) for i, key in enumerate(privates)]
    lines = [f"witness w{i} {key}" for i, key in enumerate(keys)]
    lines += ["group x 2 w0 w1 w2", "group y any w3 w4", "group both all x y", "quorum both"]
    path = tmp_path / "policy"
    path.write_text("\n".join(lines))
    wanted, plain = trust.read(path), Note(str(Checkpoint("o", 1, bytes(32))), ())
    for signers, met in (((0, 1, 3), True), ((0, 3, 4), False), ((0, 1, 2), False), ((1, 2, 4), True), ((), False)):
        signed = plain.signed_by(*[signature.sign(plain.text, keys[i], privates[i], 7) for i in signers])
        assert (wanted.unmet(signed) == "") is met
