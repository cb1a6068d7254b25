"""The version policy as a state machine against the laws that operators rely on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.serving.version_policy import Action, Snapshot, State, Verb, availability_preserving
from gateway.types import ServableId

IDS = [ServableId("m", version, digest) for version in ("1", "2", "3") for digest in ("a", "b")]

versions = st.lists(
    st.builds(Snapshot, st.sampled_from(IDS), st.sampled_from(list(State)), st.booleans()),
    unique_by=lambda version: version.id,
    max_size=6,
)


def perform(world: list[Snapshot], action: Action, loads: bool) -> list[Snapshot]:
    """The world after ``action``, whose load succeeds if ``loads``; drains end at once."""
    after = []
    for version in world:
        if version.id != action.id:
            after.append(version)
        elif action.verb is Verb.LOAD:
            after.append(Snapshot(version.id, State.READY if loads else State.UNAVAILABLE, version.aspired))
        elif action.verb is Verb.REVIVE:
            after.append(Snapshot(version.id, State.READY, version.aspired))
        elif action.verb is Verb.UNLOAD:
            after.append(Snapshot(version.id, State.UNAVAILABLE, version.aspired))
    return after


@given(versions, st.randoms(use_true_random=False))
def test_it_comes_to_rest_and_never_gives_up_what_serves(world: list[Snapshot], random) -> None:  # type: ignore[no-untyped-def]
    served = any(version.state is State.READY for version in world)
    wanted = any(version.aspired for version in world)
    for _ in range(3 * len(IDS)):
        action = availability_preserving(world)
        if action is None:
            break
        world = perform(world, action, loads=random.random() < 0.5)
        if served and wanted:
            assert any(version.state is State.READY for version in world)
    assert availability_preserving(world) is None


@given(versions)
def test_each_action_is_possible(world: list[Snapshot]) -> None:
    action = availability_preserving(world)
    if action is None:
        return
    version = next(version for version in world if version.id == action.id)
    match action.verb:
        case Verb.LOAD:
            assert version.aspired
            assert version.state is State.NEW
        case Verb.REVIVE:
            assert version.aspired
            assert version.state is State.UNLOADING
        case Verb.UNLOAD:
            assert not version.aspired
            assert version.state is State.READY
        case Verb.FORGET:
            assert not version.aspired
            assert version.state in (State.NEW, State.UNAVAILABLE)


@given(versions)
def test_what_rests_serves_all_that_is_wanted_and_could_be_loaded(world: list[Snapshot]) -> None:
    while action := availability_preserving(world):
        world = perform(world, action, loads=True)
    aspired = [version for version in world if version.aspired]
    assert all(version.state not in (State.NEW, State.UNLOADING) for version in aspired)
    settled = not any(version.state is State.LOADING for version in aspired)
    if settled and aspired and all(version.state is State.READY for version in aspired):
        assert not [version for version in world if not version.aspired and version.state is State.READY]


def test_the_old_content_stays_when_the_new_of_the_same_number_fails() -> None:
    old, new, other = IDS[0], IDS[1], IDS[2]
    world = [
        Snapshot(old, State.READY, False),
        Snapshot(new, State.UNAVAILABLE, True),
        Snapshot(other, State.READY, True),
    ]
    assert availability_preserving(world) is None


def test_the_old_version_stays_until_the_new_one_serves() -> None:
    old, new = IDS[0], IDS[2]
    assert availability_preserving([Snapshot(old, State.READY, False), Snapshot(new, State.LOADING, True)]) is None
    world = [Snapshot(old, State.READY, False), Snapshot(new, State.READY, True)]
    assert availability_preserving(world) == Action(Verb.UNLOAD, old)


def test_a_removed_model_goes() -> None:
    assert availability_preserving([Snapshot(IDS[0], State.READY, False)]) == Action(Verb.UNLOAD, IDS[0])
