"""Every query of both boards and every recording rule has an answer: a real gateway, its traffic, a real Prometheus."""

from __future__ import annotations

import datetime
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from observer.prometheus_server import HOW, Prometheus
from running import Running, start

from gateway.v1.inference import ModelInferRequest

pytestmark = pytest.mark.slow

DEPLOY = Path(__file__).parents[2] / "deploy"
INFER = "/inference.GRPCInferenceService/ModelInfer"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Running]:
    """With TLS, so that there is a certificate, and room for so few calls that some are refused."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    options = ["--tls-certificate", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem")]
    running = start(tmp_path / "data", *options, "--limits-max-inflight", "20")
    yield running
    running.stop()


@pytest.fixture
def prometheus(gateway: Running, tool, tmp_path: Path) -> Iterator[Prometheus]:
    rules = tmp_path / "recording.yml"
    rules.write_text((DEPLOY / "prometheus" / "recording.yml").read_text().replace("interval: 30s", "interval: 1s"))
    (tmp_path / "prometheus").mkdir()
    server = Prometheus(tool("prometheus", HOW), tmp_path / "prometheus", gateway.admin_port(), rules=[rules])
    yield server
    server.close()


class Traffic:
    """Calls by h2load: allowed, denied, without a credential, too late, too many at once."""

    def __init__(self, gateway: Running, folder: Path, program: str) -> None:
        self._url = f"https://{gateway.url}{INFER}"
        self._program = program
        self._body = folder / "body"
        request = ModelInferRequest(model_name="diabetes")
        request.inputs.add(name="measurements", datatype="FP32", shape=[1, 10])
        request.raw_input_contents.append(np.zeros((1, 10), np.float32).tobytes())
        message = request.SerializeToString()
        self._body.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)

    def send(self, count: int, *headers: str, at_once: int = 1) -> None:
        words = [self._program, "-n", str(count), "-c", "1", "-m", str(at_once), "-d", str(self._body)]
        for header in ("content-type: application/grpc", "te: trailers", *headers):
            words += ["-H", header]
        done = subprocess.run([*words, self._url], capture_output=True, text=True, timeout=60, check=True)
        assert f"{count} succeeded" in done.stdout, done.stdout


def queries() -> Iterator[tuple[str, str, str]]:
    """Panel, expression and legend of each query on the boards."""
    for path in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", ()):
                expr = target["expr"].replace("$__rate_interval", "1m")
                yield f"{path.stem}: {panel['title']}", re.sub(r"\$(model|tenant)", ".*", expr), target["legendFormat"]


def recorded() -> list[str]:
    groups = yaml.safe_load((DEPLOY / "prometheus" / "recording.yml").read_text())["groups"]
    return [rule["record"] for group in groups for rule in group["rules"]]


def unanswered(prometheus: Prometheus) -> list[str]:
    """Queries without a series, or with one whose legend names a label it does not have, or that is no number."""
    faults = []
    for panel, expr, legend in [*queries(), *((name, name, "") for name in recorded())]:
        series = prometheus.get(f"query?query={quote(expr)}")
        missing = {name for name in re.findall(r"{{(\w+)}}", legend) for each in series if name not in each["metric"]}
        if not series or missing:
            faults.append(f"{panel}: {expr}: {sorted(missing) or 'no series'}")
        elif all(each["value"][1] in ("NaN", "+Inf", "-Inf") for each in series):
            faults.append(f"{panel}: {expr}: {series[0]['value'][1]}")
    return faults


def test_every_query_of_the_boards_has_an_answer(
    gateway: Running, prometheus: Prometheus, tool, tmp_path: Path
) -> None:
    traffic = Traffic(gateway, tmp_path, tool("h2load", "apt-get install nghttp2-client brings it"))
    allowed = f"x-api-key: {gateway.key('screening-app', 'clinic')}"
    denied = f"x-api-key: {gateway.key('stranger', 'nobody')}"
    end = time.monotonic() + 60
    faults = ["nothing was asked"]
    while faults and time.monotonic() < end:
        traffic.send(30, allowed)
        traffic.send(10, denied)
        traffic.send(300, "x-api-key: gwk_none", at_once=10)
        traffic.send(10, allowed, "grpc-timeout: 1n")
        traffic.send(200, allowed, at_once=100)
        time.sleep(1)
        faults = unanswered(prometheus)
    assert faults == []
    assert len(list(queries())) > 40
