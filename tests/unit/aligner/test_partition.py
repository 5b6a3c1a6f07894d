"""What a partition number does when, beyond what the cases tell. Times in ms."""

from __future__ import annotations

from services.aligner.patience import LONG_US, Proof
from tests.cases.devices import Sent
from tests.cases.scene import BOOT_US, Scene


# video of "v"  x(1000)                      idle: 3000, so due at 4000
# text                        (of another session, not read yet when the ends are asked for)
def test_a_session_that_waits_for_proof_is_left_alone_until_the_proof_has_come_further() -> None:
    scene = Scene().play([Sent(1_000, "video", 1_000, session="v")], until=3_999)
    scene.grow([Sent(3_999, "text", 3_999, session="t")], until=4_000)
    owner, now_us = scene.owner, BOOT_US + 4_000_000
    assert owner.next_us() == now_us
    assert owner.wants_proof(now_us)
    owner.prove(Proof(now_us, scene.ends()))
    assert not owner.take((), now_us).silences
    assert owner.next_us() == LONG_US
    assert not owner.wants_proof(now_us)
    read = [("text", scene.logs["text"][0])]
    assert {silent.session for silent in owner.take(read, now_us).silences} == {"v"}
    assert owner.next_us() > now_us


def test_a_silence_that_came_due_after_the_ends_were_asked_for_needs_another_proof() -> None:
    scene = Scene().play([Sent(1_000, "video", 1_000, session="v")], until=3_998)
    owner, asked_us = scene.owner, BOOT_US + 3_999_999
    owner.prove(Proof(asked_us, scene.ends()))
    assert not owner.take((), asked_us + 1).silences
    assert owner.wants_proof(asked_us + 1)
    owner.prove(Proof(asked_us + 1, scene.ends()))
    assert owner.take((), asked_us + 1).silences
