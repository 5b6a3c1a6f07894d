"""Random records of producers, with disorder, duplicates, altered duplicates, reused ids and clock offsets."""

from __future__ import annotations

import random

from tests.simulation.broker import MODALITIES, SentRecord


def random_plan(rng: random.Random) -> list[SentRecord]:
    """Return up to three sessions with up to fourteen records per modality."""
    plan: list[SentRecord] = []
    for number in range(rng.randint(1, 3)):
        base = rng.choice([0, 0, 1000, -500])
        for modality in MODALITIES:
            if rng.random() < 0.2:
                continue
            at, t = 0, base
            for k in range(rng.randint(1, 14)):
                t += rng.choice([0, 1, 2, 3, 5, 20 if rng.random() < 0.2 else 4])
                at = max(at, t - base) + rng.randint(0, 2)
                sent = SentRecord(
                    at=at + (_delay(rng) if rng.random() < 0.12 else 0),
                    modality=modality,
                    session=f"s {number} {{x}}",
                    id=str(k if rng.random() < 0.9 else 0),
                    t=t - (rng.randint(0, 25) if rng.random() < 0.25 else 0),
                    length=rng.choice([1, 2, 5, 30 if rng.random() < 0.1 else 3]) if modality == "audio" else 0,
                    alive=modality == "video" and rng.random() < 0.3,
                    camera=rng.choice([0, 0, 0, 1, 2]),
                )
                plan.append(sent)
                if rng.random() < 0.15:
                    plan.append(_again(sent, at + _delay(rng), sent.content))
                if rng.random() < 0.08 and not sent.alive:
                    plan.append(_again(sent, at + rng.randint(0, 40), 1))
    return plan


def _delay(rng: random.Random) -> int:
    return rng.choice([rng.randint(0, 40), rng.randint(60, 200)])


def _again(sent: SentRecord, at: int, content: int) -> SentRecord:
    return SentRecord(at, sent.modality, sent.session, sent.id, sent.t, sent.length, content, sent.alive, sent.camera)
