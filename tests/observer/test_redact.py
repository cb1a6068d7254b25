"""The configuration that /config shows holds no secret."""

from __future__ import annotations

from gateway.observer.redact import redacted


def test_secrets_are_hidden_and_the_rest_is_shown() -> None:
    shown = redacted(
        {
            "server": {"port": 8001, "key": "/etc/tls.key"},
            "policy": {"opa_url": "https://me:sesame@opa:8181"},
            "telemetry": {"webhook_token": "/run/token", "webhook_url": ""},
            "list": [{"api_key": "k"}, {"password": ""}],
        }
    )
    assert shown == {
        "server": {"port": 8001, "key": "/etc/tls.key"},
        "policy": {"opa_url": "https://me:<hidden>@opa:8181"},
        "telemetry": {"webhook_token": "<hidden>", "webhook_url": ""},
        "list": [{"api_key": "<hidden>"}, {"password": ""}],
    }
