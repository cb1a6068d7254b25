"""The bound of calls in flight: what a simulated server makes of it, overloaded, idle, bursting and stalled."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.pipeline.queue_time import LEAST, QueueTime

MS = 1_000_000
LOOK_NS = 50 * MS
MOST = 4096


class Server:
    """Ends ``rate`` calls a second, of which at most as many wait as it is told; looks at itself every 50 ms."""

    def __init__(self, budget_ms: int, rate: int) -> None:
        self.queue = QueueTime(budget_ns=budget_ms * MS, most=MOST)
        self.rate = rate
        self.now_ns = 1
        self.waiting = 0
        self.done = 0
        self.limit = self.queue.look(self.now_ns, 0, 0)

    def live(self, arriving: int) -> int:
        """Live on to the next look while ``arriving`` calls come a second; how many of them were refused."""
        came = arriving * LOOK_NS // 1_000_000_000
        ended = min(self.waiting + came, self.rate * LOOK_NS // 1_000_000_000)
        self.waiting += came - ended
        refused = max(0, self.waiting - self.limit)
        self.waiting -= refused
        self.done += ended
        self.now_ns += LOOK_NS
        self.limit = self.queue.look(self.now_ns, self.waiting, self.done)
        return refused


@given(st.integers(2_000, 40_000), st.sampled_from([50, 100, 250]), st.floats(1.2, 4))
def test_no_more_wait_than_are_served_within_the_budget(rate: int, budget_ms: int, factor: float) -> None:
    server = Server(budget_ms, rate)
    for _ in range(40):
        server.live(int(rate * factor))
    expected = min(MOST, max(LEAST, rate * budget_ms // 1000))
    assert abs(server.limit - expected) <= 0.1 * expected + 1
    assert server.waiting <= expected * 1.1 + 1


def test_a_burst_on_an_idle_server_is_taken() -> None:
    server = Server(100, 10_000)
    for _ in range(50):
        assert server.live(20) == 0
    assert server.live(40_000) == 0
    assert server.limit == MOST


def test_a_bound_that_is_reached_is_measured_again_and_grows_with_the_server() -> None:
    server = Server(100, 2_000)
    for _ in range(40):
        server.live(50_000)
    assert server.limit < 250
    server.rate = 12_000
    for _ in range(40):
        server.live(50_000)
    assert 1_000 < server.limit < 1_350


def test_once_no_queue_stands_what_was_measured_is_forgotten() -> None:
    server = Server(100, 2_000)
    for _ in range(40):
        server.live(50_000)
    for _ in range(200):
        assert server.live(1_000) >= 0
    assert server.limit == MOST
    assert server.queue.call_ns == 0


def test_a_stalled_server_keeps_its_least_and_comes_back() -> None:
    server = Server(100, 10_000)
    for _ in range(10):
        server.live(20_000)
    server.rate = 0
    for _ in range(40):
        server.live(20_000)
    assert server.limit == LEAST
    server.rate = 10_000
    for _ in range(40):
        server.live(20_000)
    assert 900 < server.limit < 1_100


def test_without_a_budget_only_the_most_counts() -> None:
    server = Server(0, 2_000)
    for _ in range(40):
        server.live(50_000)
    assert server.limit == MOST


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10_000), st.integers(0, 10_000)), max_size=50))
def test_the_bound_is_never_below_the_least_nor_above_the_most(looks: list[tuple[int, int, int]]) -> None:
    queue = QueueTime(budget_ns=100 * MS, most=1000, least=10)
    now_ns = done = 0
    for passed, waiting, ended in looks:
        now_ns, done = now_ns + passed, done + ended
        assert 10 <= queue.look(now_ns, waiting, done) <= 1000
