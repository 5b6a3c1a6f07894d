"""Why, as one HTML file with the pictures and the sound in it, that needs nothing else and runs nothing."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import Any

from services.contract.media import picture, sound
from services.payloads.wav import as_wav
from services.why.evidence import Input

MEDIA_BYTES_MAX = 64 * 1024 * 1024
STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; --for: #2166ac; --against: #b2182b }
@media (prefers-color-scheme: dark) { :root { --for: #67a9cf; --against: #ef8a62 } }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1.5rem }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid #8886 }
td.n { font-variant-numeric: tabular-nums; white-space: nowrap }
img { max-width: 12rem; max-height: 9rem; display: block }
.bar { display: block; height: .8rem; min-width: 2px }
.scroll { overflow-x: auto }
code { overflow-wrap: anywhere }
"""


def page(told: dict[str, Any], inputs: Sequence[Input]) -> str:
    """The page; everything that came from outside is escaped, and only pictures and sound of known types are shown."""
    title = f"{told['label']} {told['confidence']:.2f}"
    said = ["first answer" if not told["final"] else "final"]
    said += ["not sure enough to say"] * told["abstained"] + [f"{told['odd']} contradicts the others"] * bool(
        told["odd"]
    )
    runner_up = told["runner_up"]
    model = told["model"]
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'">
<title>{escape(title)}: why</title><style>{STYLE}</style></head><body>
<h1>{escape(title)}</h1>
<p>{escape(", ".join(said))} · session <b>{escape(told["session"])}</b> · {told["window"]["start"]} to {told["window"]["end"]}
{f"· runner-up {escape(runner_up['label'])} {runner_up['p']:.2f}" if runner_up else ""}</p>
<h2>What each sense contributed</h2>{_senses(told)}
<h2>What would have been said without</h2>{_counterfactuals(told)}
<h2>Inputs</h2><div class="scroll"><table>{_inputs(told, inputs)}</table></div>
<h2>Where the time went</h2>{_latency(told)}
<p>model {escape(model["name"])} {escape(model["version"])} <code>{escape(model["digest"])}</code><br>
<code>{escape(told["id"])}</code><br><code>{escape(told["reproduce"])}</code></p>
</body></html>
"""


def _senses(told: dict[str, Any]) -> str:
    senses = told["modalities"]
    most = max((abs(s["contribution"]) for s in senses.values()), default=0) or 1
    rows = ""
    for name, s in senses.items():
        side = "for" if s["contribution"] >= 0 else "against"
        width = abs(s["contribution"]) / most * 100
        rows += (
            f"<tr><th>{escape(name)}</th><td>{escape(s['state'])} ({escape(str(s['evidence']))})</td>"
            f'<td class="n">{s["contribution"]:+.3f} {side if s["contribution"] else ""}</td>'
            f'<td style="width:40%"><span class="bar" style="width:{width:.0f}%;background:var(--{side})"></span></td></tr>'
        )
    return f"<table>{rows}</table>"


def _counterfactuals(told: dict[str, Any]) -> str:
    if not told["counterfactuals"]:
        return "<p>No sense was there that could be taken away.</p>"
    rows = "".join(
        f"<tr><td>{escape(' and '.join(c['without']))}</td><td>{escape(str(c['label']))}"
        f'{" (another answer)" if c["changes"] else ""}</td><td class="n">{c["confidence"]:.2f}</td></tr>'
        for c in told["counterfactuals"]
    )
    return f"<table>{rows}</table>"


def _inputs(told: dict[str, Any], inputs: Sequence[Input]) -> str:
    rows, left = "<tr><th></th><th>from</th><th>captured</th><th>delay</th><th>in the log</th></tr>", MEDIA_BYTES_MAX
    for found, row in zip(inputs, told["inputs"], strict=False):
        shown, used = _shown(found, left)
        left -= used
        delay = "" if row["delay_ms"] is None else f"{row['delay_ms']:.0f} ms"
        rows += (
            f"<tr><td>{shown}</td><td>{escape(row['source'])}<br>#{escape(row['id'])}</td><td>{row['captured']}</td>"
            f'<td class="n">{delay}</td><td><code>{escape(row["topic"])} {row["partition"]}/{row["offset"]}</code></td></tr>'
        )
    return rows


def _shown(found: Input, bytes_max: int) -> tuple[str, int]:
    """A member as people see or hear it, and the bytes that it takes."""
    payload = found.payload
    if found.member.alive:
        return "here, nothing to see", 0
    if payload is None:
        return "gone from the log", 0
    if len(payload.body) > bytes_max:
        return "too much for one page", 0
    kind = payload.content_type.partition(";")[0].strip().lower()
    if found.modality == "text":
        return escape(payload.body.decode(errors="replace")), len(payload.body)
    if kind in picture.TYPES:
        return f'<img alt="frame {escape(found.member.id)}" src="{_data(kind, payload.body)}">', len(payload.body)
    if kind in sound.TYPES:
        body: bytes | None = payload.body
        if kind == sound.PCM:
            kind, body = sound.WAV, as_wav(payload.content_type, payload.body)
        if body is None:
            return f"{len(payload.body)} bytes", 0
        return f'<audio controls preload="metadata" src="{_data(kind, body)}"></audio>', len(body)
    return f"{len(payload.body)} bytes", 0


def _latency(told: dict[str, Any]) -> str:
    if not told["latency"]:
        return "<p>not recorded</p>"
    parts = "".join(
        f'<tr><td>{escape(str(p["key"]))}</td><td class="n">{p["ms"]:.1f} ms</td></tr>'
        for p in told["latency"]["parts"]
    )
    return f'<table>{parts}<tr><th>in all</th><td class="n">{told["latency"]["total_ms"]:.1f} ms</td></tr></table>'


def _data(kind: str, body: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(body).decode()}"
