"""Records as Parquet, and SQL over them, through DuckDB (the extra ``audit``); offline, with extensions disabled.

One file per segment and day folder, all kinds together, in order: the columns of the record plus ``leaf`` (its
exact bytes) and ``leaf_hash``, so that an archive still proves what it holds.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, get_type_hints

from gateway.ledger import export, segment
from gateway.ledger.errors import LedgerError
from gateway.ledger.reader import ShardReader, shards
from gateway.ledger.record import Record, decode

if TYPE_CHECKING:
    import duckdb

_EXTRA = {"actor": "VARCHAR", "reason": "VARCHAR", "fields": "JSON"}
_SETTINGS = (
    "SET autoinstall_known_extensions=false",
    "SET autoload_known_extensions=false",
    "SET preserve_insertion_order=true",
    "SET TimeZone='UTC'",
)
_VIEWS = """
CREATE VIEW calls AS
SELECT shard || '/' || seq AS prediction_id, make_timestamp(t_us) AS time, status AS code,
       CASE WHEN decision_id = '' THEN 'none' WHEN allow THEN 'allow' ELSE 'deny' END
       AS decision, *
FROM records WHERE kind = 'call';
CREATE VIEW predictions AS SELECT * FROM calls WHERE split_part(method, '/', -1) IN ('ModelInfer', 'ModelStreamInfer')
"""


def columns() -> dict[str, str]:
    """Column names and DuckDB types, from the record's schema."""
    hints = get_type_hints(Record)
    out = {name: _column(hints[name]) for name in Record.__struct_fields__}
    return out | {name: kind for name, kind in _EXTRA.items() if name not in out}


def _column(hint: object) -> str:
    plain = {int: "BIGINT", str: "VARCHAR", bool: "BOOLEAN", tuple[str, ...]: "VARCHAR[]"}
    return plain.get(hint, "MAP(VARCHAR, BIGINT)")  # type: ignore[call-overload, no-any-return]  # hints are objects


def _default(name: str, kind: str) -> str:
    """An absent key means its default."""
    if name == "score_bin":
        return "-1"
    return {"BIGINT": "0", "VARCHAR": "''", "BOOLEAN": "false", "VARCHAR[]": "[]", "JSON": "'{}'::JSON"}.get(
        kind, "MAP {}"
    )


@contextmanager
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty database in memory. Raises: LedgerError when the extra is not installed."""
    try:
        import duckdb
    except ImportError:
        raise LedgerError("this needs DuckDB: pip install 'inference-gateway[audit]'") from None
    db = duckdb.connect()
    try:
        for setting in _SETTINGS:
            db.execute(setting)
        yield db
    finally:
        db.close()


def load(db: duckdb.DuckDBPyConnection, root: Path) -> None:
    """Read all committed records under ``root`` into a table ``records``.

    The view ``calls`` holds every call, ``predictions`` those that asked a model for an inference (as ``gateway
    usage`` counts them). Raises: LedgerCorrupt.
    """
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "leaves.ndjson"
        with lines.open("wb") as file:
            for shard in shards(root):
                file.writelines(leaf + b"\n" for leaf in export.leaves(root, shard))
        db.execute(f"CREATE TABLE records AS {_rows(lines)}")
    _close_in(db)


def load_archive(db: duckdb.DuckDBPyConnection, archive: Path) -> None:
    """Use Parquet files below ``archive`` as ``records``. Raises: LedgerError when there is none."""
    if not any(archive.rglob("*.parquet")):
        raise LedgerError(f"there are no Parquet files under {archive}: write some with 'gateway ledger archive'")
    db.execute("SET allowed_directories = [?]", [str(archive.resolve()) + "/"])
    files = str(archive.resolve() / "**" / "*.parquet").replace("'", "''")
    db.execute(
        f"CREATE VIEW records AS SELECT * FROM read_parquet('{files}', union_by_name=true, hive_partitioning=false)"  # noqa: S608 - quoted above
    )
    _close_in(db)


def write(root: Path, archive: Path) -> list[Path]:
    """Write every closed segment that is not yet there as ``<shard>/<day>/<first>.parquet``; returns the new files.

    A file appears whole or not at all. Raises: LedgerError.
    """
    made = []
    with database() as db, tempfile.TemporaryDirectory() as folder:
        for shard in shards(root):
            paths = segment.files(root / shard)
            for path, following in itertools.pairwise(paths):
                span = (segment.first_seq(path), segment.first_seq(following))
                if any((archive / shard).glob(f"*/{path.stem}.parquet")) or _is_pruned(root, shard, span[0]):
                    continue
                made.append(_write_one(db, Path(folder) / "leaves.ndjson", root, shard, span, archive / shard))
    return made


def _write_one(
    db: duckdb.DuckDBPyConnection, lines: Path, root: Path, shard: str, span: tuple[int, int], out: Path
) -> Path:
    with lines.open("wb") as file:
        file.writelines(leaf + b"\n" for leaf in export.leaves(root, shard, *span))
    first = decode(next(export.leaves(root, shard, span[0], span[0] + 1)))
    folder = out / export.utc(first.t_us)[:10]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{span[0]:0{segment.DIGITS}d}.parquet"
    _copy(db, lines, path)
    return path


def parquet(lines: Path, path: Path) -> None:
    """Write the leaves in ``lines``, one a line, as one Parquet file. Raises: LedgerError."""
    with database() as db:
        _copy(db, lines, path)


def _copy(db: duckdb.DuckDBPyConnection, lines: Path, path: Path) -> None:
    draft = path.with_suffix(".draft")
    db.execute(f"COPY ({_rows(lines)}) TO '{_quoted(draft)}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 100000)")
    wrong = db.execute(
        "SELECT count(*) FROM read_parquet(?) WHERE leaf_hash <> unhex(sha256('\\x00'::BLOB || leaf))", [str(draft)]
    ).fetchone()
    if wrong is None or wrong[0]:
        raise LedgerError(f"{draft}: records changed on their way into the archive")
    draft.rename(path)


def ask(
    db: duckdb.DuckDBPyConnection, sql: str, values: Mapping[str, object] | None = None
) -> tuple[list[str], Sequence[tuple[object, ...]]]:
    """Column names and rows. Raises: LedgerError with DuckDB's explanation of what is wrong with ``sql``."""
    import duckdb

    try:
        answer = db.execute(sql, {name: value for name, value in (values or {}).items() if f"${name}" in sql})
        return [item[0] for item in answer.description or ()], answer.fetchall()
    except duckdb.Error as error:
        raise LedgerError(str(error)) from error


def _rows(lines: Path) -> str:
    spec = ", ".join(f'"{name}": "{kind}"' for name, kind in columns().items())
    fields = ", ".join(f'coalesce(r."{name}", {_default(name, kind)}) AS "{name}"' for name, kind in columns().items())
    return (
        f"SELECT {fields}, encode(leaf) AS leaf, unhex(sha256('\\x00'::BLOB || encode(leaf))) AS leaf_hash FROM "  # noqa: S608 - our own names
        f"(SELECT json::VARCHAR AS leaf, json_transform(json, '{{{spec}}}') AS r "
        f"FROM read_ndjson_objects('{_quoted(lines)}', maximum_object_size=1000000))"
    )


def _close_in(db: duckdb.DuckDBPyConnection) -> None:
    db.execute(_VIEWS)
    db.execute("SET enable_external_access=false")
    db.execute("SET lock_configuration=true")


def _is_pruned(root: Path, shard: str, first: int) -> bool:
    reader = ShardReader(root, shard)
    try:
        return any(first in span for span in reader.pruned())
    finally:
        reader.close()


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
