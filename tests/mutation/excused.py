"""Mutants that may survive, each with the reason: by file, then by the id of the mutant.

SAME: nothing can tell the difference. WORK: the difference is work, not the outcome. FAR: the number stands for "never";
any other number as far off would do. LIMITS: settings never reach the difference.
"""

from __future__ import annotations

from tests.mutation.verdict import Key

_FAR = "FAR: it stands for a time that is never reached"
_LIMIT = "SAME: a record exactly at a limit is judged by `admit`, which admits it"
_OVERWRITE = "SAME: the number is overwritten by an equal one"
_REMEMBERED = "WORK: one stream more or fewer is remembered"
_UNKNOWN = "SAME: end offsets that are unknown prove nothing, whenever they were requested"
_NO_HEADS = "SAME: without queued records there is nothing to release, up to any limit"
_NOT_FURTHER = (
    "WORK: sessions are checked although no end offset was reached since (benchmarks/sessions.py measures it)"
)

_BY_FILE: dict[str, dict[str, str]] = {
    "services/aligner/cached_admission.py": {
        "module: 50000 to 50001": _REMEMBERED,
        "module: 50000 to 49999": _REMEMBERED,
        "module: 32 to 33": _REMEMBERED,
        "module: 32 to 31": _REMEMBERED,
        "AdmissionCache._known: > to >=": _LIMIT,
        "AdmissionCache._known: > to >= (2)": _LIMIT,
        "AdmissionCache._known: > to >= (4)": _LIMIT,
        "AdmissionCache._known: < to <=": _LIMIT,
        "AdmissionCache._known: 0 to -1": "SAME: a stream that declares a negative duration is never admitted or known",
    },
    "services/aligner/alignment.py": {
        "Aligner._closed: return None": "SAME: callers take None for False; mypy would not",
        "Aligner._release_ticks: condition to True (2)": "WORK: an empty list is copied",
        "Aligner.forget_before: < to <=": "SAME: a session exactly there is found to be recent enough and put back",
    },
    "services/aligner/idleness.py": {
        "module: 1 to 2": _FAR,
        "module: 62 to 63": _FAR,
        "module: 62 to 61": _FAR,
        "IdleTimeouts.scaled_for: >= to >": "SAME: at exactly half of the limit the share is the whole",
        "_passed_by: < to <=": _OVERWRITE,
        "early_starts: break to continue": "WORK: later windows end later, so none of them is due",
    },
    "services/aligner/ordered_merge.py": {
        "LogMerger.release: 0 to 1 (2)": _NO_HEADS,
        "LogMerger.release: 0 to -1 (2)": _NO_HEADS,
        "LogMerger._merged: > to >=": "SAME: each log has one head, so no two have one place",
        "LogMerger.has_more: 0 to -1": "SAME: an unknown end and an end of 0 both have no record before them",
    },
    "services/aligner/partition.py": {
        "Partition.__init__: drop -": _UNKNOWN,
        "Partition.__init__: 1 to 2": _UNKNOWN,
        "Partition.__init__: 1 to 0": _UNKNOWN,
        "Partition._add_clock_offset: < to <=": _OVERWRITE,
        "Partition._check_timers: condition to True (2)": "WORK: a session is asked for idle markers in vain",
        "Partition.process: condition to True (4)": _NOT_FURTHER,
        "Partition.process: drop assignment (4)": _NOT_FURTHER,
    },
    "services/aligner/session.py": {
        "module: 1 to 2": _FAR,
        "module: 62 to 63": _FAR,
        "module: 62 to 61": _FAR,
    },
    "services/aligner/window_builder.py": {
        "build_window: condition to True (4)": "SAME: every stream of a final window has a step that closed it",
    },
    "services/fusion/event_detector.py": {
        "EventDetector: 0.0 to -1.0": "SAME: it counts only where it is more than `on`, which is above 0",
        "EventDetector._next: 0.0 to -1.0": "LIMITS: both are below every retained score and below `off`, which is above 0",
        "EventDetector._next: 0.0 to -1.0 (2)": "LIMITS: both are below `since`, which is above 0",
    },
    "services/fusion/recovery.py": {
        "module: 1 to 2": _FAR,
        "module: 62 to 63": _FAR,
        "module: 62 to 61": _FAR,
        "keep_newest: >= to >": "SAME: two states after one window are equal: the fold is a function of predictions",
        "look_back_us: < to <= (2)": "SAME: an equally early start replaces the other",
    },
}

EXCUSED: dict[Key, str] = {(file, id): reason for file, reasons in _BY_FILE.items() for id, reason in reasons.items()}
