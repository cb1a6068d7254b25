"""``gateway demo``: the gateway on real models, asked by several callers, with what came of it."""

from gateway.cli.demo.command import demo as demo
