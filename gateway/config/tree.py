"""Every key there is, with its default, its unit in its name, and one sentence that says what it does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A part of the tree: frozen, and no key but those named."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


Port = Annotated[int, Field(ge=0, le=65535)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0)]


class Tls(Section):
    certificate: Path | None = None
    """Server certificate chain (PEM); with `key` it turns TLS on."""
    key: Path | None = None
    """Private key of the certificate (PEM)."""
    client_ca: Path | None = None
    """CA bundle (PEM) that client certificates are verified with."""
    require_client: bool = False
    """Refuse connections without a client certificate."""


class Limits(Section):
    max_message_bytes: Count = 64 * 1024 * 1024
    """Largest request message; judged by its length prefix before it is read."""
    max_metadata_bytes: Count = 16 * 1024
    """Largest request metadata, names and values."""
    max_streams: Count = 200
    """Concurrent calls on one connection."""
    handshake_s: Seconds = 10.0
    """Time a new connection has to start speaking HTTP/2."""
    idle_s: Seconds = 0.0
    """Close a connection without calls after this long; 0 never."""
    max_age_s: Seconds = 0.0
    """Ask clients to reconnect after this long (plus 10 % jitter), which rebalances workers; 0 never."""
    max_age_grace_s: Seconds = 30.0
    """Time that calls in flight get on a connection that is too old."""
    max_inflight: Count = 4096
    """Calls in flight in one worker; more are refused at once with RESOURCE_EXHAUSTED."""
    max_inflight_bytes: Count = 512 * 1024 * 1024
    """Request bytes in flight in one worker."""
    queue_ms: Annotated[int, Field(ge=0)] = 100
    """Time that a call may wait for its turn in a worker; when it would be longer, more are refused; 0 for no bound."""


class Server(Section):
    host: str = "127.0.0.1"
    """Address to listen on for gRPC."""
    port: Port = 8001
    """Port for gRPC; 0 takes a free one, which the ready line names."""
    transport: Literal["h2", "grpcio"] = "h2"
    """HTTP/2 implementation: h2 (fast) or grpcio (portable)."""
    workers: Count | Literal["auto"] = 1
    """Worker processes on the one port; auto is one a core."""
    drain_delay_s: Seconds = 0.0
    """Time between turning not ready and refusing calls, for load balancers to notice."""
    grace_s: Seconds = 20.0
    """Time that calls in flight get to finish when the gateway stops."""
    reflection: bool = False
    """Serve gRPC reflection, so that grpcurl needs no proto files."""
    shared_memory: bool = False
    """Let local callers register system shared memory and keep tensors there."""
    public_health: bool = True
    """Liveness and readiness of the server answer callers without a credential; else the policy decides."""
    metadata: tuple[str, ...] = ()
    """Request metadata keys (lower case) that policy may read."""
    trust_trace: Literal["always", "authenticated", "never"] = "authenticated"
    """Whose incoming trace context is continued; others start a new trace."""


class Admin(Section):
    host: str = "127.0.0.1"
    """Address of the admin HTTP server (metrics, health)."""
    port: Port = 8002
    """Port of the admin HTTP server; 0 takes a free one."""


class Models(Section):
    dirs: tuple[Path, ...] = (Path("models"),)
    """Model repositories in Triton's layout; several may be given."""
    mode: Literal["none", "poll", "explicit"] = "poll"
    """none: load once; poll: follow the directory; explicit: load and unload by RPC."""
    poll_s: Annotated[float, Field(gt=0)] = 2.0
    """How often the repository is looked at in mode poll."""
    load: tuple[str, ...] = ()
    """Models to load at the start in mode explicit; * for all."""
    accept_files: bool = False
    """Take model files from load requests in mode explicit: whoever may load can then run code."""
    catalog: Path | None = None
    """File (JSON) that says of models, by digest, who signed them and how far they have come; followed."""
    signers: Path | None = None
    """File (JSON) of the keys that sign models; without it, no model is signed."""
    threads: Annotated[int, Field(ge=0)] = 1
    """Threads inside one run of a model whose configuration says nothing; 0 leaves it to onnxruntime."""
    instances: Annotated[int, Field(ge=0)] = 0
    """Runs of one model under way at once in a worker, unless its configuration says; 0: its share of cores, or 2."""
    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    """onnxruntime's execution providers in order of preference; the CPU is always the last."""
    default_max_batch_size: Count = 64
    """Rows of one call, and of a shared run, for models that can batch and do not say how much (Triton: 4)."""
    max_queue: Count = 1024
    """Calls that may wait for one model in a worker; the next is refused with RESOURCE_EXHAUSTED."""
    queue_ms: Annotated[int, Field(ge=0)] = 2000
    """Time that a call may wait for a model's next run but one; more are refused; 0 for no bound but `max_queue`."""
    memory_budget_bytes: Annotated[int, Field(ge=0)] = 0
    """What the models of a worker may take by their estimates; 0 for no bound."""
    run_limit_s: Annotated[float, Field(gt=0)] = 30.0
    """Ends a run of a model whose cost depends on its input's values, such as one with a loop."""
    op_libraries: tuple[str, ...] = ()
    """Custom-operator libraries, by path, that a model's configuration may ask for: they run as the gateway."""


class Policy(Section):
    dir: Path = Path("policies")
    """Directory or bundle (tar.gz) of Rego policies and data."""
    engine: Literal["embedded", "opa"] = "embedded"
    """Who decides: the embedded Rego interpreter or an OPA server."""
    opa_url: str = "http://127.0.0.1:8181"
    """The OPA server: http://HOST:PORT or unix:///path."""
    opa_timeout_ms: Count = 100
    """Longest wait for OPA; a slower decision is UNAVAILABLE."""
    cache_entries: Annotated[int, Field(ge=0)] = 10_000
    """Exact decision cache, in entries; 0 turns it off. Used with an OPA server only if `opa_cache` is on."""
    cache_verify: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of cache hits decided again; one that differs is denied and turns the cache off (embedded engine)."""
    opa_cache: bool = False
    """Cache an OPA server's allows, 5 s at most, where its bundle owns everything and keeps to the portable profile."""
    record_input: Literal["slice", "full"] = "slice"
    """Kept with a record: the values that the policy reads, or all of the input, without a cache (embedded engine)."""
    max_staleness_s: Seconds = 0.0
    """Decide nothing this long after the policy in force was last confirmed by its source; 0 never."""
    hide_existence: bool = False
    """Answer PERMISSION_DENIED for models that do not exist, unless the caller would be allowed."""
    poll_s: Annotated[float, Field(gt=0)] = 1.0
    """How often the policy directory is looked at for changes."""
    exceptions: Path | None = None
    """File (JSON) of dated exceptions whose denials only warn; followed like the policies."""
    break_glass: Path | None = None
    """File (JSON) of the keys that sign emergency grants, and how many each needs; without it, no grant counts."""
    shadow: Path | None = None
    """Candidate bundle that decides recorded calls again, off the request path, and changes nothing; followed."""
    shadow_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the decisions that the candidate is asked about."""
    signers: Path | None = None
    """File (JSON) of the keys one of which must have signed the bundle; without it, none."""


class Identity(Section):
    anonymous: bool = False
    """A call without a credential becomes the principal `anonymous`; the policy still decides."""
    trust: Path | None = None
    """File (TOML) of token issuers and certificate rules; followed. Without it only API keys count."""


class Ledger(Section):
    mode: Literal["strict", "relaxed"] = "strict"
    """strict: no answer before its record is durable; relaxed: answer first, commit within 50 ms."""


class Telemetry(Section):
    ratio: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of ordinary traces that is kept; denials, errors, refusals and slow calls are kept besides."""
    max_traces_per_s: Count = 200
    """Traces kept a second, whatever the reason; about 450 take a tenth of a core."""
    max_lag_s: Count = 86_400
    """Telemetry further behind than this is skipped and counted, after an outage of the collector."""
    triton_metrics: bool = False
    """Also expose metrics under Triton's names, for boards that ask for them."""
    max_tenants: Count = 200
    """Tenants with metrics of their own; later ones are counted as _OTHER."""
    webhook_url: str = ""
    """Where each call is metered by CloudEvents; empty for nowhere."""
    webhook_token: Path | None = None
    """File with the bearer token for the webhook."""


class Log(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe event that is logged."""
    format: Literal["auto", "json", "text"] = "auto"
    """auto: text on a terminal, one JSON object a line otherwise."""


class Config(Section):
    """The whole configuration. Components never see it: the composition roots hand them plain arguments."""

    data: Path = Path("data")
    """Directory for ledgers, keys and state; one gateway at a time."""
    instance: str = Field(default="gw", pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")
    """Name of this gateway in prediction ids (INSTANCE.WORKER/SEQUENCE) and in policy input."""
    region: str = ""
    """Where this gateway runs, for policy input."""
    environment: str = ""
    """What it runs for (prod, test), for policy input."""
    server: Server = Server()
    admin: Admin = Admin()
    tls: Tls = Tls()
    limits: Limits = Limits()
    models: Models = Models()
    policy: Policy = Policy()
    identity: Identity = Identity()
    ledger: Ledger = Ledger()
    telemetry: Telemetry = Telemetry()
    log: Log = Log()
