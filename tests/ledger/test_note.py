"""Notes, keys and signatures as C2SP specifies them, held against the specification's own examples."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger import note, proof, signature
from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.note import BadNote, BadSignature, Note
from gateway.ledger.proof import BadProof
from gateway.ledger.witness import parse_request

EXAMPLE_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE = """This is an example message.

\u2014 example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
"""
HEAD = Checkpoint("ledger.example.com/gw1.0", 20852163, bytes(range(32)))


def test_the_example_of_the_specification_verifies() -> None:
    key = note.parse_key(EXAMPLE_KEY)
    assert str(key) == EXAMPLE_KEY
    parsed = note.parse(EXAMPLE.encode())
    assert str(parsed) == EXAMPLE
    assert signature.verify(parsed, [key]) == {key: 0}
    changed = Note(parsed.text.replace("example", "forged!"), parsed.signatures)
    with pytest.raises(BadSignature, match="does not verify"):
        signature.verify(changed, [key])


def test_the_checkpoint_of_the_specification_reads_back() -> None:
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    head = Checkpoint.parse(text)
    assert (head.origin, head.size) == ("example.com/behind-the-sofa", 20852163)
    assert str(head) == text
    assert Checkpoint.parse(text + "extension\n") == head


@pytest.mark.parametrize("make", [Ed25519PrivateKey.generate, MLDSA44PrivateKey.generate])
@pytest.mark.parametrize("witness", [False, True])
def test_every_signature_type_verifies_and_nothing_else_does(make: type, witness: bool) -> None:
    private = make()
    key = signature.verifier_key("w.example/1", private, witness=witness)
    line = signature.sign(str(HEAD), key, private, 1_679_315_147)
    signed = Note(str(HEAD), (line,))
    again = note.parse(str(signed).encode())
    stated = signature.verify(again, [note.parse_key(str(key))])
    assert stated == {key: 0 if key.type == note.ED25519 else 1_679_315_147}
    other = Note(str(HEAD._replace(size=7)), (line,))
    broken = Note(str(HEAD), (line._replace(body=line.body[:-1] + bytes([line.body[-1] ^ 1])),))
    later = Note(str(HEAD), (line._replace(body=bytes([line.body[0] ^ 1]) + line.body[1:]),))
    for wrong in (other, broken, later):
        with pytest.raises(BadSignature, match="does not verify"):
            signature.verify(wrong, [key])


def test_unknown_signatures_are_ignored_but_one_known_must_be_there() -> None:
    one, two = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    known, unknown = signature.verifier_key("log", one), signature.verifier_key("other", two)
    lines = (signature.sign(str(HEAD), unknown, two, 0), signature.sign(str(HEAD), known, one, 0))
    assert signature.verify(Note(str(HEAD), lines), [known]) == {known: 0}
    with pytest.raises(BadSignature, match="log did not sign"):
        signature.verify(Note(str(HEAD), lines[:1]), [known])
    same_name = signature.verifier_key("log", two)
    with pytest.raises(BadSignature):
        signature.verify(Note(str(HEAD), lines), [same_name])


def test_without_any_key_the_refusal_says_so() -> None:
    with pytest.raises(BadSignature, match="no key is known that may sign this note"):
        signature.verify(Note(str(HEAD), ()), [])


def test_sixteen_post_quantum_signatures_are_accepted() -> None:
    private = MLDSA44PrivateKey.generate()
    key = signature.verifier_key("log", private)
    line = signature.sign(str(HEAD), key, private, 5)
    signed = note.parse(str(Note(str(HEAD), (line,) * 16)).encode())
    assert signature.verify(signed, [key]) == {key: 5}


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"text only\n",
        b"text\n\n",
        b"text\n\n- name AAAAAAAA\n",
        b"text\n\n\xe2\x80\x94 name !!!!\n",
        b"text\n\n\xe2\x80\x94 name AAAA\n",
        "text\n\n\u2014 name AAAA\u2014\n".encode(),
        b"text\n\n\xe2\x80\x94 na+me AAAAAAAA\n",
        b"te\x07xt\n\n\xe2\x80\x94 name AAAAAAAA\n",
        b"\xff\n\n\xe2\x80\x94 name AAAAAAAA\n",
    ],
)
def test_what_is_no_note_is_refused(bad: bytes) -> None:
    with pytest.raises(BadNote):
        note.parse(bad)


@pytest.mark.parametrize(
    "bad", ["", "a+b", "name+00000000+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", EXAMPLE_KEY[:-4], "x+zz+AA=="]
)
def test_what_is_no_key_is_refused(bad: str) -> None:
    with pytest.raises(BadNote):
        note.parse_key(bad)


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "o\n1\n",
        "o\n01\nAA==\n",
        "o\n-1\nAA==\n",
        "o\n1\nAA==\n",
        "o\n1\n??\n",
        "o\n1\n\n\n",
        f"o\n1\n{'é' * 44}\n",
        f"o\n{'9' * 19}\n{'A' * 43}=\n",
        f"o\n{'9' * 5_000}\n{'A' * 43}=\n",
        "o\n²\nAA==\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(bad: str) -> None:
    with pytest.raises(BadNote):
        Checkpoint.parse(bad)


READERS: list[tuple[str, Callable[[str], object]]] = [
    (EXAMPLE, lambda text: note.parse(text.encode())),
    (EXAMPLE_KEY, note.parse_key),
    (str(HEAD), Checkpoint.parse),
    (f"old 5\nAAAA\n\n{EXAMPLE}", lambda text: parse_request(text.encode())),
    (f"c2sp.org/tlog-proof@v1\nextra AA==\nindex 7\n\n{EXAMPLE}", lambda text: proof.parse(text.encode())),
]
DAMAGE = st.one_of(st.text(max_size=4), st.sampled_from(["9" * 30, "9" * 5_000, "²", "\u2014 "]))


@given(st.sampled_from(READERS), st.integers(0, 220), DAMAGE, st.integers(0, 3))
def test_readers_refuse_rather_than_fail(
    reader: tuple[str, Callable[[str], object]], at: int, put: str, gone: int
) -> None:
    text, read = reader
    try:
        read(text[:at] + put + text[at + gone :])
    except (BadNote, BadProof):
        return
