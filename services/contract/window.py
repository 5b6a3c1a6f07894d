"""The window record: one moment of one session, its members by reference and a mask with reasons.

The late record: a chunk that came when its windows had closed for its modality.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from services.contract import canonical
from services.contract.chunk import EMPTY_SHA256, Chunk
from services.contract.record import MemberPosition


# Not frozen, which makes one three times as slow to make, and there is one for each chunk; mypy keeps it from changing.
@dataclass(slots=True, unsafe_hash=True)
class Member:
    """A chunk of a window: its identity, the sha256 of its payload, and where in the log it stands."""

    source: Final[str]
    id: Final[str]
    t_us: Final[int]
    duration_us: Final[int]
    sha256: Final[str]
    partition: Final[int]
    offset: Final[int]
    _texts: tuple[str, str] | None = field(default=None, init=False, repr=False, compare=False)
    _input: tuple[str, str] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def alive(self) -> bool:
        """True where the source only said that it is there: nothing to fetch."""
        return self.sha256 == EMPTY_SHA256

    @property
    def texts(self) -> tuple[str, str]:
        """Its canonical JSON in the record and in what the digest is taken over; made once, for all of its windows."""
        if self._texts is None:
            source, id, sha256 = (
                canonical.dumps_text(self.source),
                canonical.dumps_text(self.id),
                canonical.dumps_text(self.sha256),
            )
            t_us, duration_us = str(self.t_us), str(self.duration_us)
            record = (
                f'{{"at":[{self.partition},{self.offset}],"duration_us":{duration_us},"id":{id},'
                f'"sha256":{sha256},"source":{source},"t_us":{t_us}}}'
            )
            self._texts = record, f"[{source},{id},{t_us},{duration_us},{sha256}]"
        return self._texts

    def input_text(self, modality: str) -> str:
        """Its canonical JSON among the inputs of a prediction; made once, as the member is of one modality."""
        if self._input is None or self._input[0] != modality:
            name, source, id = (
                canonical.dumps_text(modality),
                canonical.dumps_text(self.source),
                canonical.dumps_text(self.id),
            )
            at = f"[{self.partition},{self.offset}]"
            made = f'{{"at":{at},"id":{id},"modality":{name},"source":{source},"t_us":{self.t_us}}}'
            self._input = modality, made
        return self._input[1]


@dataclass(frozen=True, slots=True)
class WindowMembers:
    """One modality of a window.

    state: present, absent or unknown; evidence: data, alive, tick, end or config (None: still awaited, early answers
    only); bound_us: the bound of the record that closed the window for this modality.
    """

    state: str
    evidence: str | None
    bound_us: int | None
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """[start_us, end_us) of a session; *_us of event time, opened_us and closed_us of the broker's clock.

    muted: senses that must not be used for its answer; no part of the record, for alignment knows nothing of it.
    """

    session: str
    start_us: int
    end_us: int
    previous_us: int | None
    final: bool
    config: str
    modalities: dict[str, WindowMembers]
    opened_us: int
    closed_us: int
    muted: frozenset[str] = frozenset()
    _digest: str = field(default="", init=False, repr=False, compare=False)

    @property
    def digest(self) -> str:
        """sha256 over members, mask and evidence: what a repeat must not change. Made once: an early answer's id, which
        is asked for at every step, is taken from it."""
        if not self._digest:
            object.__setattr__(self, "_digest", _digest_of([of_digest for of_digest, _ in _lanes(self)]))
        return self._digest

    @property
    def revision(self) -> int:
        return 1 if self.final else 0

    @property
    def id(self) -> str:
        """`session/start in ms/1`; an early answer ends in `/0-` and six digits of its digest."""
        return self._id("" if self.final else self.digest)

    def _id(self, digest: str) -> str:
        return f"{self.session}/{self.start_us // 1000}/" + ("1" if self.final else f"0-{digest[:6]}")


def encode(window: Window) -> bytes:
    """The canonical bytes of a window record.

    Put together from its members' texts: a member stands in several windows, early and final, and a record is mostly
    members. What comes out is what canonical.dumps says of the same content (tests/unit/contract/test_window.py).
    """
    lanes = _lanes(window)
    digest = _digest_of([of_digest for of_digest, _ in lanes])
    object.__setattr__(window, "_digest", digest)
    text = canonical.dumps_text
    return (
        f'{{"closed_us":{window.closed_us},"config":{text(window.config)},"digest":"{digest}",'
        f'"end_us":{window.end_us},"final":{"true" if window.final else "false"},'
        f'"id":{text(window._id(digest))},"modalities":{{{",".join([of_record for _, of_record in lanes])}}},'
        f'"opened_us":{window.opened_us},'
        f'"previous_us":{_number_or_null(window.previous_us)},"revision":{window.revision},'
        f'"session":{text(window.session)},"start_us":{window.start_us}}}'
    ).encode()


def _digest_of(lanes: Sequence[str]) -> str:
    return hashlib.sha256(f"{{{','.join(lanes)}}}".encode()).hexdigest()


def _lanes(window: Window) -> list[tuple[str, str]]:
    """What the digest is taken over and what the record says of each modality, by name."""
    return [_lane_texts(name, lane) for name, lane in sorted(window.modalities.items())]


def _lane_texts(name: str, lane: WindowMembers) -> tuple[str, str]:
    members = [member.texts for member in lane.members]
    name, state, evidence = canonical.dumps_text(name), canonical.dumps_text(lane.state), _text_or_null(lane.evidence)
    return (
        f"{name}:[{state},{evidence},[{','.join([of_digest for _, of_digest in members])}]]",
        f'{name}:{{"bound_us":{_number_or_null(lane.bound_us)},"evidence":{evidence},'
        f'"members":[{",".join([of_record for of_record, _ in members])}],"state":{state}}}',
    )


def _text_or_null(value: str | None) -> str:
    return "null" if value is None else canonical.dumps_text(value)


def _number_or_null(value: int | None) -> str:
    return "null" if value is None else str(value)


def decode_or_none(raw: bytes | None) -> Window | None:
    """The window of a record, None for what is none: whoever may write to the topic may have written anything."""
    try:
        return decode(raw or b"")
    except (canonical.InvalidJson, KeyError, TypeError, ValueError, AttributeError):
        return None


def decode(raw: bytes) -> Window:
    """Read a window record. Raises canonical.InvalidJson, KeyError, TypeError, ValueError or AttributeError if it is none."""
    return made(canonical.loads_object(raw), lambda members: tuple([decode_member(m) for m in members]))


def made(record: Mapping[str, Any], members_of: Callable[[Any], tuple[Member, ...]]) -> Window:
    """The window that a record tells; members_of: the members that a lane of it names. Raises like `decode`."""
    return Window(
        session=record["session"],
        start_us=record["start_us"],
        end_us=record["end_us"],
        previous_us=record["previous_us"],
        final=record["final"],
        config=record["config"],
        modalities={
            name: WindowMembers(lane["state"], lane["evidence"], lane["bound_us"], members_of(lane["members"]))
            for name, lane in record["modalities"].items()
        },
        opened_us=record["opened_us"],
        closed_us=record["closed_us"],
    )


def decode_member(record: dict[str, Any]) -> Member:
    """A member as a record tells it. Raises KeyError or TypeError where it tells none."""
    return Member(
        record["source"], record["id"], record["t_us"], record["duration_us"], record["sha256"], *record["at"]
    )


def encode_late(chunk: Chunk, missed_us: tuple[int, ...], behind_us: int) -> bytes:
    """Canonical bytes: identity and position, the starts of the windows missed, and by how much the last was missed."""
    return canonical.dumps(
        {
            "session": chunk.session,
            "modality": chunk.modality,
            "source": chunk.source,
            "id": chunk.id,
            "t_us": chunk.t_us,
            "duration_us": chunk.duration_us,
            "sha256": chunk.sha256,
            "at": [chunk.partition, chunk.offset],
            "missed_us": list(missed_us),
            "behind_us": behind_us,
        }
    )


def position_of(modality: str, member: Member) -> MemberPosition:
    """Return the position of a member's record, which is also the key of its payload."""
    return MemberPosition(modality, member.partition, member.offset)
