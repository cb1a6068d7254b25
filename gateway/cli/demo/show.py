"""How the tour looks."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console, Group
from rich.markup import escape
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.syntax import Syntax
from rich.text import Text

from gateway.cli.demo.client import Outcome
from gateway.cli.demo.process import HOST, Gateway
from gateway.cli.demo.scenes import Caller, Scene

INDENT = (0, 0, 0, 4)
NAMES = (("record", "gateway-prediction-id"), ("decision", "gateway-decision-id"), ("trace", "gateway-trace-id"))


def opening(console: Console, gateway: Gateway, examples: Path, policies: Path) -> None:
    """What runs where."""
    console.print(
        Panel(
            f"gRPC [bold]{HOST}:{gateway.port}[/] (Open Inference Protocol)   "
            f"admin http://{HOST}:{gateway.admin_port}\n"
            f"models {escape(str(examples / 'models'))}   policies {escape(str(policies))}\n"
            f"log {escape(str(gateway.log))}",
            title="inference gateway",
            subtitle="every prediction is permitted by policy and recorded before it is answered",
            expand=False,
        )
    )


def scene(console: Console, number: int, scene: Scene, outcome: Outcome) -> None:
    """One call: who asked what, how it ended, why, and where it is recorded."""
    caller = scene.caller
    who = f"[bold]{caller.id}[/] of [bold]{caller.tenant}[/]" if caller else "[bold]somebody[/]"
    console.print(f"\n[bold]{number:2}[/]  {who} asks [bold]{scene.message.model_name}[/] about {scene.title}")
    colour, mark = ("green", "✔") if outcome.status == "OK" else ("yellow", "✘")
    ended = Text(f"{mark} {outcome.status}", style=f"bold {colour}").append(
        f"   {outcome.ms:.1f} ms", style="not bold dim"
    )
    notes = "   ".join(f"{name} {_short(outcome.trailers[key])}" for name, key in NAMES if key in outcome.trailers)
    body = Group(ended, scene.meaning(outcome), Text(f"why: {scene.why}", style="italic"), Text(notes, style="dim"))
    console.print(Padding(body, INDENT))
    if outcome.status != scene.must:
        console.print(Padding(Text(f"expected {scene.must}", style="bold red"), INDENT))


def _short(id_: str) -> str:
    return id_ if len(id_) <= 12 else f"{id_[:12]}…"


def heading(console: Console, command: str) -> None:
    """The command whose output follows."""
    console.print()
    console.print(Rule(f"[bold]$ {escape(command)}", align="left", style="dim"))


def next_steps(console: Console, gateway: Gateway, data: Path, caller: Caller, key: str) -> None:
    """What to try while the gateway stays up."""
    command = f"gateway predict digits --input image=@digit.npy --server {HOST}:{gateway.port} --key $KEY"
    console.print(
        Panel(
            Group(
                Text(f"The key of {caller.id} ({caller.tenant}):", style="bold"),
                Syntax(f"export KEY={key}", "bash", background_color="default"),
                Text("\nAny client of the protocol, here tritonclient:", style="bold"),
                Syntax(_snippet(gateway.port), "python", background_color="default"),
                Text("\nAnd:", style="bold"),
                Syntax(
                    f"{command}\n"
                    f"gateway ledger tail --data {data}\n"
                    f"gateway ledger verify --data {data}\n"
                    f"curl http://{HOST}:{gateway.admin_port}/metrics",
                    "bash",
                    background_color="default",
                ),
                Text(
                    "\nChange policies/data.json, for example tenants.research.models, and ask again: "
                    "the new policy holds within a second.",
                ),
            ),
            title="what to try next",
            subtitle="Ctrl-C ends the demo",
            expand=False,
        )
    )


def _snippet(port: int) -> str:
    return (
        "import os, numpy as np, tritonclient.grpc as triton\n"
        f'client = triton.InferenceServerClient("{HOST}:{port}")\n'
        'image = triton.InferInput("image", [1, 8, 8], "FP32")\n'
        "image.set_data_from_numpy(np.zeros((1, 8, 8), np.float32))\n"
        'answer = client.infer("digits", [image], headers={"x-api-key": os.environ["KEY"]})\n'
        'print(answer.as_numpy("digit"))'
    )
