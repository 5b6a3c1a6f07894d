"""Each final event is announced once over MQTT, whatever the early predictions said and in whatever order they came."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from services.contract import event
from services.contract.event import Event
from services.fusion.event_tracker import EventTracker
from services.integrations.mqtt.state import BridgeLimits, BridgeState
from services.integrations.mqtt.topics import MqttTopics
from tests.unit.fusion.test_event_tracker import DECISION, LABELS, predicted

SOUNDS = ("-", "7", "dog")
# By window: what its final prediction says, what its early one says (None: left out under overload), and how many
# windows later the final one comes.
windows = st.lists(
    st.tuples(st.sampled_from(SOUNDS), st.sampled_from((None, None, *SOUNDS)) | st.just("final"), st.integers(0, 6)),
    min_size=1,
    max_size=40,
)
Drawn = list[tuple[str, str | None, int]]


def publish(drawn: Drawn) -> list[Event]:
    """Return the event records of a session, in the order in which the worker publishes them."""
    tracker, events, waiting = EventTracker(DECISION), list[Event](), list[int]()
    for number, (final, early, _) in enumerate(drawn):
        if early is not None:
            label = final if early == "final" else early
            events += tracker.update(predicted(number, label, {}, final=False))
        waiting.append(number)
        # Final predictions are in order of start, and no window waits for ever.
        while waiting and (waiting[0] + drawn[waiting[0]][2] <= number or number == len(drawn) - 1):
            at = waiting.pop(0)
            events += tracker.update(predicted(at, drawn[at][0], {}, final=True))
    return events


def announced(bridge: BridgeState, step: Event) -> bool:
    messages = [m for m in bridge.event(step, event.encode(step)) if m.kind == "event"]
    assert all(json.loads(m.payload)["event_type"] == step.label for m in messages)
    return bool(messages)


@given(windows)
def test_each_final_event_is_announced_exactly_once(drawn: Drawn) -> None:
    bridge = BridgeState(MqttTopics(), LABELS[1:], BridgeLimits(1, 1, 1), "1")
    final: set[tuple[str, str]] = set()
    # Announcements of provisional events that stand for no final event yet: label and until when.
    unclaimed: list[tuple[str, int]] = []
    for step in publish(drawn):
        is_announced = announced(bridge, step)
        if not step.final:
            if is_announced:
                unclaimed.append((step.label, step.expires_us))
        elif step.lifecycle in ("new", "update") and (step.id, step.label) not in final:
            final.add((step.id, step.label))
            claimable = [one for one in unclaimed if one[0] == step.label and step.start_us <= one[1]]
            assert is_announced != bool(claimable), "it is announced twice, or not at all"
            if claimable:
                unclaimed.remove(claimable[0])
        else:
            assert not is_announced


@given(windows)
def test_each_provisional_event_is_confirmed_under_its_id_or_withdrawn(drawn: Drawn) -> None:
    open_ids: set[str] = set()
    for step in publish(drawn):
        if step.lifecycle == "withdrawn":
            assert step.id in open_ids, "only what was published and is not confirmed is withdrawn"
            open_ids.remove(step.id)
        elif step.final:
            open_ids.discard(step.id)
        else:
            open_ids.add(step.id)
    # A provisional change of a confirmed event has its id as well.
    final_ids = {step.id for step in publish(drawn) if step.final}
    assert open_ids <= final_ids


@given(windows)
def test_early_predictions_change_no_final_record(drawn: Drawn) -> None:
    without = publish([(final, None, delay) for final, _, delay in drawn])
    assert [e for e in publish(drawn) if e.final] == without


@given(windows)
def test_a_step_that_is_published_again_after_a_crash_is_not_announced_again(drawn: Drawn) -> None:
    bridge = BridgeState(MqttTopics(), LABELS[1:], BridgeLimits(1, 1, 1), "1")
    for step in publish(drawn):
        announced(bridge, step)
        assert not announced(bridge, step)


def test_an_event_whose_early_prediction_began_a_window_too_early_is_announced_once() -> None:
    steps = publish([("-", "dog", 2), ("dog", "dog", 2), ("dog", "dog", 2)])
    assert [(e.lifecycle, e.final) for e in steps] == [("new", False), ("new", True)]
    assert len({e.id for e in steps}) == 1
