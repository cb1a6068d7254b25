"""Any order of append, failure, crash, reopening, rolling and pruning: dense leaves, and the root by definition."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.ledger import leaf as leaves
from gateway.ledger import merkle
from gateway.ledger.payload_keys import FileKeys
from gateway.ledger.proof import consistency
from gateway.ledger.reader import ShardReader
from gateway.ledger.record import Record
from gateway.ledger.store import Store
from gateway.ledger.upkeep import Order
from gateway.ledger.vault import Vault
from gateway.ledger.verify import verify

from .conftest import clock_us
from .test_merkle import defined_root


class Life(RuleBasedStateMachine):
    """A store and, beside it, the plain list of what it promised."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp())
        self.leaves: list[bytes] = []
        self.pruned = 0
        self.proved: tuple[int, bytes] = (0, merkle.EMPTY)
        self.store = self.opened()

    def opened(self) -> Store:
        keys = FileKeys(self.base / "keys")
        store = Store(self.base / "ledger" / "gw.0", Vault(keys), clock_us=clock_us, segment_leaves=40)
        store.open()
        return store

    def batch(self, count: int) -> list[tuple[int, bytes, None]]:
        size = len(self.leaves)
        made = [
            Record(v=1, kind="call", shard="gw.0", seq=size + i, t_us=clock_us(), cred="c" * 200) for i in range(count)
        ]
        return [(item.seq, leaves.encode(item), None) for item in made]

    @rule(count=st.integers(1, 120))
    def append(self, count: int) -> None:
        batch = self.batch(count)
        hashes = self.store.commit(batch)
        self.leaves += [leaf for _, leaf, _ in batch]
        assert hashes == [merkle.leaf_hash(leaf) for _, leaf, _ in batch]

    @rule(count=st.integers(120, 200))
    def fail(self, count: int) -> None:
        live = self.store._live()
        live._db.execute("PRAGMA max_page_count=1")
        try:
            self.store.commit(self.batch(count))
        except sqlite3.OperationalError:
            self.store.reopen()
        else:
            raise AssertionError("the commit was to fail")

    @rule()
    def restart(self) -> None:
        self.store.close(settle=True)
        self.store = self.opened()

    @rule()
    def crash(self) -> None:
        """Only what is on disk survives: copy it away from under the living store."""
        copy = Path(tempfile.mkdtemp()) / "copy"
        shutil.copytree(self.base, copy)
        self.store.close()
        shutil.rmtree(self.base)
        copy.rename(self.base)
        copy.parent.rmdir()
        self.store = self.opened()

    @precondition(lambda self: len(self.leaves) > 256)
    @rule()
    def prune(self) -> None:
        order = Order(id="o", kind="prune", actor="a", reason="r", before_us=clock_us())
        done = self.store.perform_closed(order)
        self.pruned = max([self.pruned, *(seq + 1 for seq in done.records)])

    @rule()
    def remember_the_head(self) -> None:
        self.proved = (self.store.size, self.store.tree.root())

    @invariant()
    def the_root_is_the_defined_one(self) -> None:
        assert self.store.size == len(self.leaves)
        assert self.store.tree.root() == defined_root([merkle.leaf_hash(leaf) for leaf in self.leaves])

    @invariant()
    def leaves_are_dense_and_the_same(self) -> None:
        reader = ShardReader(self.base / "ledger", "gw.0")
        found = reader.read(0, 100_000)
        reader.close()
        assert found == [(seq, leaf) for seq, leaf in enumerate(self.leaves) if seq >= self.pruned]

    @invariant()
    def it_extends_every_head_it_ever_had(self) -> None:
        size, root = self.proved
        if 0 < size < len(self.leaves):
            proof = consistency(self.base / "ledger", "gw.0", size, len(self.leaves))
            roots = merkle.roots_from_consistency(size, len(self.leaves), root, proof)
            assert roots == (root, self.store.tree.root())

    def teardown(self) -> None:
        self.store.close()
        found = verify(self.base / "ledger").findings
        assert [
            f for f in found if f.last is None or f.last >= self.pruned
        ] == []  # prunings are recorded by the caretaker
        shutil.rmtree(self.base)


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=10, stateful_step_count=12, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
