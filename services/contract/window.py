"""The window record (members by reference, state and evidence of each modality) and the late record."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from services.contract import canonical, record_fields
from services.contract.chunk import EMPTY_SHA256, Chunk
from services.contract.kafka_record import MemberPosition
from services.contract.record_fields import (
    ContractError,
    check_fields,
    check_time_us,
    flag,
    integer,
    items,
    log_position,
    text,
    text_or_none,
    time_us,
    time_us_or_none,
)
from services.contract.session_reset import generation_id


# `frozen=True` triples construction time and one is built per chunk; `Final` lets mypy enforce immutability.
@dataclass(slots=True, unsafe_hash=True)
class Member:
    """A chunk of a window: its identity, the sha256 of its payload and its position in the log."""

    source: Final[str]
    id: Final[str]
    t_us: Final[int]
    duration_us: Final[int]
    sha256: Final[str]
    partition: Final[int]
    offset: Final[int]
    _texts: MemberTexts | None = field(default=None, init=False, repr=False, compare=False)
    _input: tuple[str, str] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def alive(self) -> bool:
        """Return True for an alive record, which has no payload."""
        return self.sha256 == EMPTY_SHA256

    @property
    def texts(self) -> MemberTexts:
        """Return its canonical JSON in the record and in the digest's input; built once for all of its windows."""
        if self._texts is None:
            self._texts = join_texts((self,))
        return self._texts

    def input_text(self, modality: str) -> str:
        """Return its canonical JSON among the inputs of a prediction; built once."""
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


# The canonical JSON of members in the record and in the digest's input, without the brackets around them.
MemberTexts = tuple[str, str]


def join_texts(members: Sequence[Member]) -> MemberTexts:
    """Return the texts of members, joined by commas."""
    quoted, records, digests = canonical.dumps_text, [], []
    source, source_text = None, ""
    for member in members:
        if member.source is not source:
            source, source_text = member.source, quoted(member.source)
        t_us, duration_us, id, sha256 = member.t_us, member.duration_us, quoted(member.id), quoted(member.sha256)
        records.append(
            f'{{"at":[{member.partition},{member.offset}],"duration_us":{duration_us},"id":{id},'
            f'"sha256":{sha256},"source":{source_text},"t_us":{t_us}}}'
        )
        digests.append(f"[{source_text},{id},{t_us},{duration_us},{sha256}]")
    return ",".join(records), ",".join(digests)


@dataclass(slots=True, unsafe_hash=True)
class WindowMembers:
    """The members of one modality in a window, and the modality's state.

    Attributes:
        state: present, absent or unknown.
        evidence: What the state rests on: data, alive, tick, end or config; None if still awaited (early windows only).
        bound_us: Watermark of the record that closed the window for this modality.
        members: In order of event time.
        texts: The joined texts of the members, set by who has them.
    """

    state: Final[str]
    evidence: Final[str | None]
    bound_us: Final[int | None]
    members: Final[tuple[Member, ...]]
    # Not a parameter, so that members that are replaced have no former texts.
    texts: MemberTexts | None = field(default=None, init=False, repr=False, compare=False)


@dataclass(slots=True)
class Window:
    """The interval [start_us, end_us) of a session, in event time.

    Attributes:
        previous_us: Start of the session's window before it; None if there is none within the event gap.
        final: False for an early window.
        config: Digest of the alignment settings.
        opened_us: Smallest append time of its members.
        closed_us: Largest append time of the records that closed it.
        generation: The generation of the session (see `session_reset`), 0 if it was never reset.
        muted: Modalities that a prediction must not use; set by fusion, not part of the record.
    """

    session: Final[str]
    start_us: Final[int]
    end_us: Final[int]
    previous_us: Final[int | None]
    final: Final[bool]
    config: Final[str]
    modalities: Final[dict[str, WindowMembers]]
    opened_us: Final[int]
    closed_us: Final[int]
    generation: Final[int] = 0
    muted: Final[frozenset[str]] = frozenset()
    _digest: str = field(default="", init=False, repr=False, compare=False)

    @property
    def digest(self) -> str:
        """Return the sha256 over members, states and evidence, which a repeated window must not change.

        It is computed once, because the id of an early window is derived from it.
        """
        if not self._digest:
            self._digest = _digest_of([of_digest for of_digest, _ in _streams(self)])
        return self._digest

    @property
    def revision(self) -> int:
        """Return 1 for a final window, 0 for an early one."""
        return 1 if self.final else 0

    @property
    def id(self) -> str:
        """Return `session/start in ms/1`, for an early window `session/start in ms/0-` and six digits of its digest.

        After a reset `~` and the generation follow.
        """
        return self._id("" if self.final else self.digest)

    @property
    def generation_id(self) -> str:
        """Return what names the session's generation where state is kept."""
        return generation_id(self.session, self.generation) if self.generation else self.session

    def _id(self, digest: str) -> str:
        return window_id(self.session, self.start_us, "1" if self.final else f"0-{digest[:6]}", self.generation)


def window_id(session: str, start_us: int, revision: str = "1", generation: int = 0) -> str:
    """Return the id of a window."""
    id = f"{session}/{start_us // 1000}/{revision}"
    return f"{id}~{generation}" if generation else id


def encode(window: Window) -> bytes:
    """Return the canonical bytes of a window record.

    They are joined from the texts of its members, because a record is mostly members and each is in several windows.
    The result equals `canonical.dumps` of the same content (tests/unit/contract/test_window.py).
    """
    streams = _streams(window)
    digest = _digest_of([of_digest for of_digest, _ in streams])
    window._digest = digest
    quoted = canonical.dumps_text
    # Only after a reset, so that all other windows keep their bytes.
    generation = f'"generation":{window.generation},' if window.generation else ""
    return (
        f'{{"closed_us":{window.closed_us},"config":{quoted(window.config)},"digest":"{digest}",'
        f'"end_us":{window.end_us},"final":{"true" if window.final else "false"},{generation}'
        f'"id":{quoted(window._id(digest))},"modalities":{{{",".join([of_record for _, of_record in streams])}}},'
        f'"opened_us":{window.opened_us},'
        f'"previous_us":{_number_or_null(window.previous_us)},"revision":{window.revision},'
        f'"session":{quoted(window.session)},"start_us":{window.start_us}}}'
    ).encode()


def _digest_of(streams: Sequence[str]) -> str:
    return hashlib.sha256(f"{{{','.join(streams)}}}".encode()).hexdigest()


def _streams(window: Window) -> list[tuple[str, str]]:
    """Return for each modality, by name, its text in the digest's input and in the record."""
    return [_stream_texts(name, stream) for name, stream in sorted(window.modalities.items())]


def _stream_texts(name: str, stream: WindowMembers) -> tuple[str, str]:
    if stream.texts is not None:
        of_record, of_digest = stream.texts
    else:
        texts = [member.texts for member in stream.members]
        of_record, of_digest = ",".join([text for text, _ in texts]), ",".join([text for _, text in texts])
    quoted = canonical.dumps_text
    name, state, evidence = quoted(name), quoted(stream.state), _text_or_null(stream.evidence)
    return (
        f"{name}:[{state},{evidence},[{of_digest}]]",
        f'{name}:{{"bound_us":{_number_or_null(stream.bound_us)},"evidence":{evidence},'
        f'"members":[{of_record}],"state":{state}}}',
    )


def _text_or_null(value: str | None) -> str:
    return "null" if value is None else canonical.dumps_text(value)


def _number_or_null(value: int | None) -> str:
    return "null" if value is None else str(value)


def decode_or_none(raw: bytes | None) -> Window | None:
    """Decode a window record; return None if it is invalid (topics are untrusted input)."""
    try:
        return decode(raw or b"")
    except ContractError:
        return None


def decode(raw: bytes) -> Window:
    """Decode a window record. Raises ContractError if it is invalid."""
    return _from_json(canonical.loads_object(raw), lambda members: tuple([decode_member(m) for m in members]))


# A member with its texts takes some 3 KB.
REMEMBERED_MEMBERS_MAX = 8_192
# Longer names are not remembered: topics are untrusted input and must not fill the memory.
NAME_LENGTH_MAX = 1_024
# Where the members of a modality begin and end in a canonical record, and what stands between two of them: no text in
# a record holds these, because its quotes would be escaped.
_BEGIN, _END, _FIRST, _NEXT = '"members":[', '],"state":', '{"at":[', '},{"at":['


class WindowDecoder:
    """Decodes window records; a member that is in several windows is one object, with the texts made of it.

    Args:
        members_max: The least number of members to remember; at most twice as many are.
    """

    def __init__(self, members_max: int = REMEMBERED_MEMBERS_MAX) -> None:
        self._members_max = members_max
        # By their text in the record, without what all members begin and end with.
        self._recent: dict[str, Member] = {}
        self._older: dict[str, Member] = {}

    def decode_or_none(self, raw: bytes | None) -> Window | None:
        """Decode a window record; return None if it is invalid."""
        try:
            if raw is not None and len(raw) <= canonical.JSON_BYTES_MAX:
                window = self._decode_canonical(raw.decode())
                # The strict reader of JSON costs more than this check, which shows that the record is canonical (no key
                # is repeated) and that its parts were found where they are.
                if encode(window) == raw:
                    return window
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            pass
        return decode_or_none(raw)

    def _decode_canonical(self, text: str) -> Window:
        """Decode a record without reading the members that are remembered; wrong if it is not canonical."""
        before, *parts = text.split(_BEGIN)
        members, rest = [], [before]
        for part in parts:
            of_stream, end, after = part.partition(_END)
            members.append(self._members(of_stream) if of_stream else ())
            rest.append(end + after)
        next_members = iter(members)
        return _from_json(json.loads(_BEGIN.join(rest)), lambda _: next(next_members, ()))

    def _members(self, text: str) -> tuple[Member, ...]:
        find = self._recent.get
        return tuple([find(one) or self._remember(one) for one in text[len(_FIRST) : -1].split(_NEXT)])

    def _remember(self, text: str) -> Member:
        member = self._older.get(text) or _decode_plain(text) or decode_member(json.loads(f"{_FIRST}{text}}}"))
        if max(len(member.source), len(member.id)) <= NAME_LENGTH_MAX:
            if len(self._recent) >= self._members_max:
                self._older, self._recent = self._recent, {}
            self._recent[text] = member
        return member


# A canonical member without escaped characters, as almost all are; numbers of 18 digits fit in any field.
_COUNT, _INTEGER, _TEXT = r"(0|[1-9]\d{0,17})", r"(0|-?[1-9]\d{0,17})", r'("[^"\\\x00-\x1f]*")'
_PLAIN = re.compile(
    rf'{_COUNT},{_COUNT}\],"duration_us":{_INTEGER},"id":{_TEXT},"sha256":{_TEXT},"source":{_TEXT},"t_us":{_INTEGER}',
    re.ASCII,
)


def _decode_plain(text: str) -> Member | None:
    """Decode a member without the JSON decoder, a third of the cost; None if it is not as almost all are."""
    match = _PLAIN.fullmatch(text)
    if match is None:
        return None
    partition, offset, duration_us, id, sha256, source, t_us = match.groups()
    member = Member(source[1:-1], id[1:-1], int(t_us), int(duration_us), sha256[1:-1], int(partition), int(offset))
    member._texts = f"{_FIRST}{text}}}", f"[{source},{id},{t_us},{duration_us},{sha256}]"
    return member


def _from_json(record: Mapping[str, Any], decode_members: Callable[[list[Any]], tuple[Member, ...]]) -> Window:
    modalities = {}
    for name, stream in record_fields.fields(record, "modalities").items():
        check_fields(stream, "a modality")
        modalities[name] = WindowMembers(
            text(stream, "state"),
            text_or_none(stream, "evidence"),
            time_us_or_none(stream, "bound_us"),
            decode_members(items(stream, "members")),
        )
    return Window(
        session=text(record, "session"),
        start_us=time_us(record, "start_us"),
        end_us=time_us(record, "end_us"),
        previous_us=time_us_or_none(record, "previous_us"),
        final=flag(record, "final"),
        config=text(record, "config"),
        modalities=modalities,
        opened_us=time_us(record, "opened_us"),
        closed_us=time_us(record, "closed_us"),
        generation=integer(record, "generation") if "generation" in record else 0,
    )


def decode_member(record: Any) -> Member:
    """Decode a member of a window record. Raises ContractError if it is invalid."""
    check_fields(record, "a member")
    return Member(
        text(record, "source"),
        text(record, "id"),
        time_us(record, "t_us"),
        time_us(record, "duration_us"),
        text(record, "sha256"),
        *log_position(record, "at"),
    )


def encode_late(chunk: Chunk, missed_us: tuple[int, ...], behind_us: int) -> bytes:
    """Return the canonical bytes of a late record.

    Args:
        chunk: The late chunk.
        missed_us: Starts of the windows that it missed.
        behind_us: By how much it missed the last of them.
    """
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


def decode_late(raw: bytes | None) -> dict[str, Any]:
    """Decode a late record. Raises ContractError if it is invalid."""
    record = canonical.loads_object(raw or b"")
    for name in ("session", "modality", "source", "id", "sha256"):
        text(record, name)
    for name in ("t_us", "duration_us", "behind_us"):
        time_us(record, name)
    log_position(record, "at")
    for missed_us in items(record, "missed_us"):
        check_time_us(missed_us, "missed_us")
    return record


def position_of(modality: str, member: Member) -> MemberPosition:
    """Return the position of a member's record, which is also the key of its payload."""
    return MemberPosition(modality, member.partition, member.offset)
