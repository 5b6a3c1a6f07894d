"""Mutants that may live, each with the reason: file, function, the line before and after.

The reasons are of four kinds: nothing can tell the difference (SAME), the difference is work and not outcome (WORK),
the number stands for never or not known, and any as large would do (FAR), settings never say what it takes (LIMITS).
"""

from __future__ import annotations

from tests.mutation.verdict import Key

FAR = "FAR: it stands for what no time reaches; any number as far off would do"
_ALIGN, _PATIENCE = "services/aligner/alignment.py", "services/aligner/idleness.py"
_PARTITION, _DECIDE = "services/aligner/partition.py", "services/fusion/event_detector.py"
_GATE = "services/aligner/admission_cache.py"

_PROOF = "SAME: a proof without ends proves nothing, whenever it was asked for"
_PROOFS = [
    (_PARTITION, "Partition.__init__", "self._proof = Proof(-1, {})", f"self._proof = Proof({asked}, {{}})")
    for asked in ("(1)", "-2", "-(0)")
]
_NUMBERS = [
    (file, "", f"{name} = {sign}", f"{name} = {sign.replace('1 << 62', far)}")
    for file, name, sign in (
        ("services/aligner/session.py", "NEVER_US", "-(1 << 62)"),
        (_PATIENCE, "LONG_US", "1 << 62"),
        ("services/fusion/recovery.py", "UNREAD_US", "1 << 62"),
    )
    for far in ("2 << 62", "1 << 63", "1 << (61)")
]

_WHOLE = "SAME: what stands exactly at a limit is judged whole by admission, which takes it"
_AT_LIMITS = [
    (_GATE, "Gate._known", before, after)
    for before, after in (
        (
            "if t_us is None or not id or len(id) > limits.name_bytes_max:",
            "if t_us is None or not id or (len(id) >= limits.name_bytes_max):",
        ),
        (
            "if len(body) > limits.payload_bytes_max or header_bytes > limits.header_bytes_max:",
            "if (len(body) >= limits.payload_bytes_max) or header_bytes > limits.header_bytes_max:",
        ),
        (
            "if t_us + length > appended_us + semantics.future_us or t_us < appended_us - semantics.stale_after_us:",
            "if (t_us + length >= appended_us + semantics.future_us) or t_us < appended_us - semantics.stale_after_us:",
        ),
        (
            "if t_us + length > appended_us + semantics.future_us or t_us < appended_us - semantics.stale_after_us:",
            "if t_us + length > appended_us + semantics.future_us or (t_us <= appended_us - semantics.stale_after_us):",
        ),
    )
]

_SORTED = "WORK: what is in order already is sorted, and comes out as it was"
_MASK = "services/aligner/window_builder.py"
_RISES = "return all(map(lt, times, times[1:]))"
_MEMBERS = "members = tuple(found) if {} else tuple(sorted(found, key=_in_order))"
_IN_ORDER = [
    (_MASK, "_rises", _RISES, "return None"),
    (_MASK, "_rises", _RISES, "return all(map(lt, times, times[(0):]))"),
    (_MASK, "_lane", _MEMBERS.format("_rises(found)"), _MEMBERS.format("False")),
]

EXCUSED: dict[Key, str] = {
    **dict.fromkeys(_IN_ORDER, _SORTED),
    **dict.fromkeys(_NUMBERS, FAR),
    **dict.fromkeys(_PROOFS, _PROOF),
    **dict.fromkeys(_AT_LIMITS, _WHOLE),
    (_GATE, "", "STREAMS_MAX = 50_000", "STREAMS_MAX = 50001"): "WORK: one stream more is remembered",
    (_GATE, "", "STREAMS_MAX = 50_000", "STREAMS_MAX = (49999)"): "WORK: one stream fewer is remembered",
    (_GATE, "", "SOURCES_MAX = 32", "SOURCES_MAX = 33"): "WORK: one stream more is remembered of a session",
    (_GATE, "", "SOURCES_MAX = 32", "SOURCES_MAX = (31)"): "WORK: one stream fewer is remembered of a session",
    (
        _GATE,
        "Gate._known",
        "if isinstance(length, Rejected) or not 0 <= length <= semantics.max_duration_us:",
        "if isinstance(length, Rejected) or not (-1) <= length <= semantics.max_duration_us:",
    ): "SAME: a stream that states a length below 0 is never let in, so there is none that is known",
    (
        _ALIGN,
        "Aligner.chunk",
        "open_for_it = windows[closed:] if closed else windows",
        "open_for_it = windows[closed:] if True else windows",
    ): "WORK: all of a range is made anew as it was",
    (
        _ALIGN,
        "Aligner._enter",
        "if appended_us < window.opened_us:",
        "if (appended_us <= window.opened_us):",
    ): "SAME: the number that is written over is the same one",
    (_ALIGN, "Aligner._closed", "return False", "return None"): "SAME: whoever asks takes None for no; mypy would not",
    (
        _ALIGN,
        "Aligner._release_ticks",
        "if lane.ticks:",
        "if True:",
    ): "WORK: a list without ticks is made anew as it was",
    (
        _PARTITION,
        "Partition._tell",
        "if behind_us < effects.offsets_us.get(source, LONG_US):",
        "if (behind_us <= effects.offsets_us.get(source, LONG_US)):",
    ): "SAME: the number that is written over is the same one",
    (
        _ALIGN,
        "Aligner.forget",
        "while self._oldest and self._oldest[0][0] < before_us:",
        "while self._oldest and (self._oldest[0][0] <= before_us):",
    ): "SAME: one that stands exactly there is looked at, found not to be older, and put back",
    (
        "services/aligner/window_builder.py",
        "record",
        "times = [step.appended_us for step in steps.values() if step] if final else [r.appended_us for r in latest]",
        "times = [step.appended_us for step in steps.values() if True] if final else [r.appended_us for r in latest]",
    ): "SAME: a final window has closed in every declared lane, so there is a step for each; mypy cannot know",
    (
        _PATIENCE,
        "_passed_by",
        "if step is not None and (first_us is None or step.handed_us < first_us):",
        "if step is not None and (first_us is None or (step.handed_us <= first_us)):",
    ): "SAME: the number that is written over is the same one",
    (
        _PATIENCE,
        "Patience.under",
        "if left >= whole:",
        "if (left > whole):",
    ): "SAME: exactly half full, the share that is left is the whole",
    (
        _PATIENCE,
        "early_starts",
        "break",
        "continue",
    ): "WORK: the windows behind it end later still, so none of them is due",
    (
        "services/aligner/ordered_merge.py",
        "InStep.release",
        "return self._merged(min(heads, default=0) + self._skew_ms)",
        "return self._merged(min(heads, default=1) + self._skew_ms)",
    ): "SAME: without heads there is nothing to take, up to whatever limit",
    (
        "services/aligner/ordered_merge.py",
        "InStep.release",
        "return self._merged(min(heads, default=0) + self._skew_ms)",
        "return self._merged(min(heads, default=(-1)) + self._skew_ms)",
    ): "SAME: without heads there is nothing to take, up to whatever limit",
    (
        "services/aligner/ordered_merge.py",
        "InStep._merged",
        "until_ms = limit_ms if not others else others[0][0] - (place > others[0][1])",
        "until_ms = limit_ms if not others else others[0][0] - ((place >= others[0][1]))",
    ): "SAME: each log has one head, so no two stand at one place",
    (
        "services/aligner/ordered_merge.py",
        "InStep.behind",
        "return any(queue or self._next[m] < (ends[m] or 0) for m, queue in self._queues.items())",
        "return any(queue or self._next[m] < (ends[m] or (-1)) for m, queue in self._queues.items())",
    ): "SAME: an end that is not known and one at 0 both have no record before it",
    (
        _PARTITION,
        "Partition._look",
        "if due_us <= self._proof.asked_us or session.some_ended:",
        "if True:",
    ): "WORK: a session is asked for silences in vain",
    (
        _PARTITION,
        "Partition.take",
        "if passed != self._passed:",
        "if True:",
    ): "WORK: a session whose proof has come no further is looked at in vain (benchmarks/sessions.py measures that)",
    (
        _PARTITION,
        "Partition.take",
        "self._passed = passed",
        "pass",
    ): "WORK: a session whose proof has come no further is looked at in vain (benchmarks/sessions.py measures that)",
    (
        _DECIDE,
        "EventDetector",
        "early_on: float = 0.0",
        "early_on: float = (-1.0)",
    ): "SAME: it counts only where it is more than `on`, which is above 0",
    (
        _DECIDE,
        "EventDetector._next",
        "own = scores[event.label].value if event.label in scores else 0.0",
        "own = scores[event.label].value if event.label in scores else (-1.0)",
    ): "LIMITS: both are below every score that is kept, and below `off`, which is above 0",
    (
        _DECIDE,
        "EventDetector._next",
        "if dict(window.top).get(event.label, 0.0) >= self.since:",
        "if dict(window.top).get(event.label, (-1.0)) >= self.since:",
    ): "LIMITS: both are below `since`, which is above 0",
    (
        "services/fusion/recovery.py",
        "keep_newest",
        "if known is None or state.last_us >= known.last_us:",
        "if known is None or (state.last_us > known.last_us):",
    ): "SAME: two states after the same window are one: the fold is a function of the predictions",
    (
        "services/fusion/recovery.py",
        "look_back_us",
        "if could_be_us < read_since_us and (since_us is None or could_be_us < since_us):",
        "if could_be_us < read_since_us and (since_us is None or (could_be_us <= since_us)):",
    ): "SAME: the one that is as far back takes the other's place",
}
