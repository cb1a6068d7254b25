"""The command: start, tour, figures, then stay up."""

from __future__ import annotations

import signal
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import grpc
import typer
from rich.console import Console

from gateway.cli.demo import show
from gateway.cli.demo.client import ask
from gateway.cli.demo.process import HOST, DemoFailed, Gateway, create_key, demonstrate, free_port, start
from gateway.cli.demo.scenes import CALLERS, READER, Caller, scenes


def demo(
    once: Annotated[bool, typer.Option("--once", help="End after the tour instead of staying up.")] = False,
    examples: Annotated[Path, typer.Option(help="Directory with models/ and data/.")] = Path("examples"),
    policies: Annotated[Path, typer.Option(help="Directory of policies.")] = Path("policies"),
    data: Annotated[
        Path | None, typer.Option(help="Where ledger and keys go; by default a directory that is removed at the end.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port for gRPC, if it is free.")] = 8001,
    admin_port: Annotated[int, typer.Option(help="Port for admin HTTP, if it is free.")] = 8002,
) -> None:
    """Start the gateway on real models, send it predictions from several callers, show what came of each."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console()
    try:
        with ExitStack() as stack:
            chosen = data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-demo-")))
            keys = {caller: create_key(chosen, caller.id, caller.tenant) for caller in CALLERS}
            gateway = _start(console, chosen, examples, policies, (port, admin_port))
            stack.callback(gateway.stop)
            _tour(console, gateway, examples, keys)
            _figures(console, chosen)
            if not once:
                show.next_steps(console, gateway, chosen, READER, keys[READER])
                _stay(gateway)
    except DemoFailed as error:
        typer.secho(f"demo: {error}", fg="red", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        console.print("stopped")
        raise typer.Exit(0 if not once else 130) from None


def _start(console: Console, data: Path, examples: Path, policies: Path, wanted: tuple[int, int]) -> Gateway:
    for needed in (examples / "models", examples / "data", policies):
        if not needed.is_dir():
            raise DemoFailed(f"{needed} is no directory; run this in a checkout, or say --examples and --policies")
    ports = [free_port(port) for port in wanted]
    for port, free in zip(wanted, ports, strict=True):
        if port not in (0, free):
            console.print(f"port {port} is taken, using {free}", style="yellow")
    gateway = start(data, examples / "models", policies, *ports)
    show.opening(console, gateway, examples, policies)
    return gateway


def _tour(console: Console, gateway: Gateway, examples: Path, keys: dict[Caller, str]) -> None:
    surprises = 0
    with grpc.insecure_channel(f"{HOST}:{gateway.port}") as channel:
        for number, scene in enumerate(scenes(examples / "data"), 1):
            outcome = ask(channel, scene.message, keys[scene.caller] if scene.caller else "")
            show.scene(console, number, scene, outcome)
            surprises += outcome.status != scene.must
    if surprises:
        raise DemoFailed(f"{surprises} calls did not end as they must; the gateway's log: {gateway.log}")


def _figures(console: Console, data: Path) -> None:
    """The commands that an operator and an auditor would run; each has to succeed."""
    for arguments in (["usage"], ["ledger", "verify"]):
        typed = [*arguments, "--data", str(data)]
        show.heading(console, f"gateway {' '.join(typed)}")
        demonstrate(typed)


def _stay(gateway: Gateway) -> None:
    status = gateway.process.wait()
    raise DemoFailed(f"the gateway ended by itself with status {status}; its log: {gateway.log}")
