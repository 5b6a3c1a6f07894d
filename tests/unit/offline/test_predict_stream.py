"""`braid predict-stream`: a file of events from a recorded stream, or exit code 2 and a message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from services.cli.main import app
from services.runtime.settings import ROOT

DATA = ROOT / "data"
STREAM = DATA / "homestream" / "S01"
SHIPPED = ROOT / "models" / "home" / "1"
UNTIL_S = 40.0


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the first 40 seconds of a stream as its server received them."""
    path = tmp_path_factory.mktemp("stream") / "part.events.jsonl"
    lines = Path(f"{STREAM}.events.jsonl").read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if json.loads(line)["t_arrive"] < UNTIL_S))
    return path


def call(events: Path, out: Path, *more: str, audio: Path | None = None, root: Path = DATA) -> Result:
    mix = str(audio or f"{STREAM}.audio.json")
    options = ["--events", str(events), "--audio", mix, "--root", str(root), "--out", str(out)]
    return CliRunner().invoke(app, ["predict-stream", *options, *more])


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_event_is_one_line_with_the_time_of_its_first_record_with_that_label(events: Path, tmp_path: Path) -> None:
    #         2.4   6.5  13.0  16.5  21.4  26.1   33.0 s
    # truth    4     0     2     8     7     3    helicopter
    assert call(events, tmp_path / "out").exit_code == 0
    rows = read(tmp_path / "out")
    assert [e["label"] for e in rows if e["kind"] == "digit"][:4] == ["4", "0", "2", "8"]
    for e in rows:
        assert set(e) == {"start", "end", "kind", "label", "confidence", "decided_at"}
        assert 0 <= e["start"] <= e["end"] <= UNTIL_S
        assert 0 < e["confidence"] <= 1
        assert e["decided_at"] <= UNTIL_S + 10
    line = (tmp_path / "out").read_text().splitlines()[0]
    assert len(line.split('"confidence": ')[1].split(",")[0]) == len("0.000000")


def test_events_depend_only_on_records_that_had_arrived(events: Path, tmp_path: Path) -> None:
    call(events, tmp_path / "whole")
    first = min(read(tmp_path / "whole"), key=lambda e: e["decided_at"])
    cut = tmp_path / "cut.events.jsonl"
    lines = events.read_text().splitlines(keepends=True)
    cut.write_text("".join(line for line in lines if json.loads(line)["t_arrive"] <= first["decided_at"]))
    call(cut, tmp_path / "part")
    assert first["decided_at"] in {e["decided_at"] for e in read(tmp_path / "part")}


def test_the_same_call_writes_the_same_bytes_and_the_model_may_be_named(events: Path, tmp_path: Path) -> None:
    call(events, tmp_path / "default")
    call(events, tmp_path / "named", str(SHIPPED))
    call(events, tmp_path / "each", "--model-for", f"tridigit={SHIPPED}", "--model-for", f"homesound10={SHIPPED}")
    assert len({(tmp_path / name).read_bytes() for name in ("default", "named", "each")}) == 1


def test_unusable_argument_is_named_with_an_exit_code(events: Path, tmp_path: Path) -> None:
    broken, mix = tmp_path / "broken.jsonl", tmp_path / "mix.json"
    broken.write_text('{"t_arrive": 1.0, "source": "mic"}\n')
    mix.write_text('{"duration_s": 1}')
    cases = {
        "none.jsonl cannot be read": (2, call(tmp_path / "none.jsonl", tmp_path / "o")),
        "broken.jsonl, line 1: not a message": (2, call(broken, tmp_path / "o")),
        "mix.json: not the mix": (2, call(events, tmp_path / "o", audio=mix)),
        "there is no": (2, call(events, tmp_path / "o", root=tmp_path)),
        "There is no checkpoint in": (1, call(events, tmp_path / "o", str(tmp_path))),
        "--model-for takes TASK=PATH": (2, call(events, tmp_path / "o", "--model-for", "juggling=x")),
        "cannot be used": (1, call(events, tmp_path / "no" / "folder")),
    }
    for sentence, (code, result) in cases.items():
        assert result.exit_code == code, sentence
        assert sentence in result.output.replace("\n", " "), result.output
    assert not (tmp_path / "o").exists()
