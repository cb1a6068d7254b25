"""The fast transport: gRPC on an HTTP/2 state machine in Rust, driven from loop callbacks."""

from gateway.transport.h2.server import H2Transport

__all__ = ["H2Transport"]
