"""A compared replay as one HTML file that needs nothing else."""

from __future__ import annotations

from html import escape

from services.replay.compare import KINDS, Compared

ROWS_MAX = 20_000
STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { margin: 2rem auto; max-width: 75rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100%; margin: 1rem 0 }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid #8886 }
td.n { font-variant-numeric: tabular-nums }
code { overflow-wrap: anywhere }
.scroll { overflow-x: auto }
"""


def page(compared: Compared) -> str:
    """The page; everything from the recording is escaped."""
    told = compared.as_json()
    names = ("identical", "alike", "changes", "appears", "vanishes", "uncompared")
    head = "".join(f"<th>{name}</th>" for name in ("", *names))
    counts = "".join(
        f"<tr><th>{kind}s</th>" + "".join(f'<td class="n">{told[f"{kind}s"][name]}</td>' for name in names) + "</tr>"
        for kind in KINDS
    )
    changes = (*compared.cause.settings, compared.cause.model or f"model {compared.model}")
    differences = compared.diff.differences
    rows = "".join(
        f"<tr><td>{d.kind}</td><td><code>{escape(d.id)}</code></td><td>{d.how}</td>"
        f"<td>{'<br>'.join(map(escape, d.what))}</td><td>{'<br>'.join(map(escape, d.why))}</td></tr>"
        for d in differences[:ROWS_MAX]
    )
    more = f"<p>and {len(differences) - ROWS_MAX} more</p>" if len(differences) > ROWS_MAX else ""
    troubles = "".join(f"<p><strong>{escape(trouble)}</strong></p>" for trouble in compared.troubles)
    verdict = "Every record that could be compared is identical, byte for byte." if compared.diff.same_bytes else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Replay of {escape(compared.name)}</title><style>{STYLE}</style></head><body>
<h1>Replay of {escape(compared.name)}</h1>
<ul>{"".join(f"<li><code>{escape(change)}</code></li>" for change in changes)}</ul>{troubles}<p>{verdict}</p>
<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{counts}</tbody></table></div>
<div class="scroll"><table><thead><tr><th>what</th><th>id</th><th>how</th><th>in which points</th><th>why</th></tr></thead>
<tbody>{rows}</tbody></table></div>{more}
</body></html>
"""
