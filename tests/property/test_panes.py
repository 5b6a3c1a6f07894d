"""Windows made of panes against the oracle, which enters each chunk into each window: any lengths, limits and disorder."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from services.aligner.alignment import Aligner, fate_name
from services.contract.alignment_config import AlignmentConfig, Quotas, StreamConfig
from services.contract.chunk import Chunk
from services.contract.tick import Tick
from services.contract.window import Window, encode
from services.inspection.audit.oracle import LogEntry, judge_logs

# Names of 3 and 80 characters: with the smaller limits of bytes, long ones take more than their share.
NAMES = ("cam", "microphone" * 8)
CONFIGS = st.builds(
    AlignmentConfig,
    size_us=st.integers(1, 60),
    hop_us=st.integers(1, 25),
    streams=st.just({"audio": StreamConfig(4, True), "video": StreamConfig(7, False)}),
    members_max=st.sampled_from([1, 2, 3, 9, 256]),
    window_bytes_max=st.sampled_from([None, 2_000, 6_000, 1_000_000]),
    event_gap_us=st.just(40),
    lead_us=st.sampled_from([None, 0, 15]),
    quotas=st.sampled_from([None, Quotas(source_bytes_per_s=4_000_000, session_sources_max=2)]),
)
SENT = st.tuples(
    st.sampled_from(["audio", "video", "tick"]),
    st.sampled_from(NAMES),
    st.sampled_from("012"),
    st.integers(-20, 120),
    st.integers(0, 90),
    st.integers(0, 1),
)


@settings(max_examples=300, deadline=None)
@given(config=CONFIGS, sent=st.lists(SENT, min_size=1, max_size=70))
def test_windows_of_panes_equal_those_of_the_oracle_to_the_byte(
    config: AlignmentConfig, sent: list[tuple[str, str, str, int, int, int]]
) -> None:
    aligner, logs = Aligner(config, {}), defaultdict[str, list[LogEntry]](list)
    fates: dict[tuple[str, int], str] = {}
    windows: list[Window] = []
    for at, (kind, source, id, t_us, duration_us, content) in enumerate(sent):
        modality = ("audio", "video")[content] if kind == "tick" else kind
        offset, log = len(logs[modality]), logs[modality]
        if kind == "tick":
            tick = Tick({"s": t_us}, "tick")
            log.append(LogEntry(offset, at, tick))
            windows += aligner.apply_tick(modality, tick, offset, at, at)
            continue
        chunk = Chunk("s", modality, source, id, t_us, duration_us, str(content) * 64, 0, offset, at, 1_000_000, 0)
        log.append(LogEntry(offset, at, chunk))
        fate, closed = aligner.add_chunk(chunk, at)
        fates[modality, offset] = fate_name(fate)
        windows += closed
        assert aligner.windows_open == sum(len(session.starts) for session in aligner.sessions.values())
        retained = {m: aligner.commit_offset(m, len(logs[m])) for m in config.modalities}
        assert all(retained[m] <= len(logs[m]) for m in retained)
    verdict = judge_logs(logs, config)
    assert fates == verdict.fates
    assert [encode(window) for window in windows] == [encode(window) for _, window in sorted(verdict.windows.items())]
    assert {("s", start) for session in aligner.sessions.values() for start in session.starts} == verdict.open
