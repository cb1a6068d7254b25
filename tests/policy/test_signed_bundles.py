"""Archives and signatures: the bytes OPA takes are read alike, and nothing unsigned, altered or odd gets in."""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import io
import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from gateway.policy.bundle import Bundle
from gateway.policy.findings import PolicyInvalid
from gateway.policy.signing import FILE, SigningKey, Trust, hashed_bytes, read_trust, verify

SHIPPED = Path(__file__).parents[2] / "policies"
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
FILES = {
    "a.rego": b'package gateway.authz\n\ndefault decision := {"v": 1}\n',
    "data.json": b'{ "b": 1e3, "a": [0.10, "\xc3\xbc\xe2\x80\xa8"] }',
    ".manifest": b'{"revision": "r1", "roots": [""], "rego_version": 1}',
}


def pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def private(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


TRUST = Trust((SigningKey("new", "ES256", pem(KEY)), SigningKey("old", "ES256", pem(OTHER))), scope="authz")


def claims(contents: dict[str, bytes], /, **changes: object) -> dict[str, object]:
    listed = [
        {"name": name, "hash": hashlib.sha256(hashed_bytes(name, content)).hexdigest(), "algorithm": "SHA-256"}
        for name, content in contents.items()
    ]
    return {"files": listed, "keyid": "new", "scope": "authz", **changes}


def signed(token: str, files: dict[str, bytes] = FILES) -> dict[str, bytes]:
    return {**files, FILE: json.dumps({"signatures": [token]}).encode()}


def good(**changes: object) -> dict[str, bytes]:
    return signed(jwt.encode(claims(FILES, **changes), private(KEY), "ES256"))


def pack(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(PolicyInvalid) as invalid:
        act()
    return str(invalid.value)


def test_a_good_signature_holds_and_names_its_key() -> None:
    assert verify(good(), TRUST) == "new"
    old = jwt.encode(claims(FILES, keyid="old"), private(OTHER), "ES256", headers={"kid": "old"})
    assert verify(signed(old), TRUST) == "old"


def unsigned_token() -> str:
    part = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")  # noqa: E731
    return f"{part({'alg': 'none'})}.{part(claims(FILES))}."


def hmac_with_the_public_key() -> str:
    part = lambda raw: base64.urlsafe_b64encode(raw).decode().rstrip("=")  # noqa: E731
    head = json.dumps({"alg": "HS256"}).encode()
    text = f"{part(head)}.{part(json.dumps(claims(FILES)).encode())}"
    return f"{text}.{part(hmac.digest(pem(KEY).encode(), text.encode(), 'sha256'))}"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (dict(FILES), "not signed"),
        (signed(jwt.encode(claims(FILES), private(OTHER), "ES256")), "does not hold"),
        (signed(jwt.encode(claims(FILES, keyid="third"), private(KEY), "ES256")), "not one of ours (new, old)"),
        (signed(jwt.encode(claims(FILES, keyid=""), private(KEY), "ES256")), "not one of ours"),
        (signed(unsigned_token()), "algorithm 'none'"),
        (signed(hmac_with_the_public_key()), "algorithm 'HS256'"),
        (good(scope="other"), "scope 'other', expected 'authz'"),
        ({**good(), "a.rego": b"package x"}, "a.rego:0:0: signature: digest mismatch"),
        ({**good(), "b.rego": b"package x"}, "b.rego:0:0: signature: in the bundle, but not"),
        ({k: v for k, v in good().items() if k != "data.json"}, "data.json:0:0: signature: in the signature, but not"),
        ({**FILES, FILE: b'{"signatures": []}'}, "does not hold"),
        ({**FILES, FILE: b'{"signatures": ["a.b.c", "d.e.f"]}'}, "does not hold"),
        ({**FILES, FILE: b"x"}, "does not hold"),
        (good(files=[{"name": "a.rego", "hash": "0", "algorithm": "MD5"}]), "does not hold"),
        (good(exp=1), "does not hold"),
    ],
)
def test_everything_else_is_refused_by_name(files: dict[str, bytes], said: str) -> None:
    assert said in refusal(lambda: verify(files, TRUST))


def test_a_signature_over_the_same_values_spelled_alike_holds() -> None:
    files = {**good(), "data.json": b'{"a":[0.10,"\xc3\xbc\\u2028"],"b":1e3}'}
    assert verify(files, TRUST) == "new"
    altered = {**good(), "data.json": b'{"a":[0.1,"\xc3\xbc\\u2028"],"b":1e3}'}
    assert "digest mismatch" in refusal(lambda: verify(altered, TRUST))


def test_trust_without_a_key_id_is_no_trust() -> None:
    with pytest.raises(ValueError, match="anybody's key would do"):
        Trust(())
    with pytest.raises(ValueError, match="anybody's key would do"):
        Trust((SigningKey("", "ES256", pem(KEY)),))


def test_an_archive_reads_as_its_directory(tmp_path: Path) -> None:
    for name, content in FILES.items():
        (tmp_path / "d").mkdir(exist_ok=True)
        (tmp_path / "d" / name).write_bytes(content)
    packed = Bundle.read(pack(tmp_path / "b.tar.gz", good()), trust=TRUST)
    assert packed.digest == Bundle.read(tmp_path / "d").digest
    assert packed.revision.startswith("r1@")


def test_who_signed_a_bundle_is_its_author_and_else_who_wrote_it(tmp_path: Path) -> None:
    archive = pack(tmp_path / "b.tar.gz", good())
    assert Bundle.read(archive, trust=TRUST).author == "key new"
    assert Bundle.read(archive).author == archive.owner()


def test_an_unsigned_archive_is_read_where_no_signature_is_required(tmp_path: Path) -> None:
    path = pack(tmp_path / "b.tar.gz", FILES)
    assert Bundle.read(path).label == "r1"
    assert "not signed" in refusal(lambda: Bundle.read(path, trust=TRUST))


def test_odd_archives(tmp_path: Path) -> None:
    path = tmp_path / "b.tar.gz"

    def with_member(info: tarfile.TarInfo, content: bytes = b"") -> Path:
        with tarfile.open(path, "w:gz") as archive:
            for name in ("a.rego", info.name):
                member = info if name == info.name else tarfile.TarInfo(name)
                member.size = len(content) if member is info else 0
                archive.addfile(member, io.BytesIO(content))
        return path

    link = tarfile.TarInfo("l.rego")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    assert "no links" in refusal(lambda: Bundle.read(with_member(link)))
    assert "leaves the bundle" in refusal(lambda: Bundle.read(with_member(tarfile.TarInfo("../x.rego"))))
    assert "twice" in refusal(lambda: Bundle.read(with_member(tarfile.TarInfo("./a.rego"))))
    assert "not part of a policy bundle" in refusal(lambda: Bundle.read(with_member(tarfile.TarInfo("x.sh"))))
    path.write_bytes(b"not an archive")
    assert "no readable tar.gz" in refusal(lambda: Bundle.read(path))
    whole = pack(path, FILES).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "no readable tar.gz" in refusal(lambda: Bundle.read(path))
    path.write_bytes(gzip.compress(bytes(200 << 20)))
    assert "unpacks to more than" in refusal(lambda: Bundle.read(path))


def test_opas_own_signature_holds(opa_binary: str, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text(private(KEY))
    (tmp_path / "claims.json").write_text('{"scope": "authz", "keyid": "new"}')
    out = tmp_path / "bundle.tar.gz"
    options = ["--signing-key", str(tmp_path / "key.pem"), "--signing-alg", "ES256"]
    more = ["--claims-file", str(tmp_path / "claims.json"), "--ignore", "*_test.rego", "-r", "r9", "-o", str(out)]
    done = subprocess.run(
        [opa_binary, "build", "-b", ".", *options, *more], cwd=SHIPPED, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    bundle = Bundle.read(out, trust=TRUST)
    assert bundle.label == "r9"
    assert sorted(bundle.modules) == [f"gateway/authz/{name}.rego" for name in ("checks", "decision", "obligations")]
    assert json.loads(bundle.data) == json.loads((SHIPPED / "data.json").read_bytes())


def test_numbers_and_odd_characters_hash_as_opa_hashes_them(opa_binary: str, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text(private(KEY))
    odd = r"\u2028 \u2029 \u00fc <&> \u0001 \u007f \ud83d\ude00"
    text = '{"z":"/","a":1e3,"b":0.10,"e":-0,"f":[1.0,null,true,{}],"c":"' + odd + '"}'
    (tmp_path / "data.json").write_text(text)
    command = [opa_binary, "sign", "--signing-key", "key.pem", "--signing-alg", "ES256", "-b", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (token,) = json.loads((tmp_path / FILE).read_bytes())["signatures"]
    listed = {f["name"]: f["hash"] for f in jwt.decode(token, options={"verify_signature": False})["files"]}
    assert hashlib.sha256(hashed_bytes("data.json", text.encode())).hexdigest() == listed["data.json"]


def test_trust_on_file(tmp_path: Path) -> None:
    file = tmp_path / "signers.json"
    key = {"keyid": "new", "algorithm": "ES256", "public_pem": pem(KEY)}
    file.write_text(json.dumps({"scope": "authz", "keys": [key]}))
    assert verify(good(), read_trust(file)) == "new"
    for wrong in ({"keys": []}, {"keys": [{**key, "keyid": ""}]}, {"keys": [{**key, "algorithm": "HS256"}]}, {}):
        file.write_text(json.dumps(wrong))
        assert "signers.json" in refusal(lambda: read_trust(file))
