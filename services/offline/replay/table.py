"""Print a comparison in a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.offline.replay.compare import KINDS, Comparison

ROWS_MAX = 60
WIDTH_IN_A_PIPE = 180


def make_console() -> Console:
    """Return standard output, as wide as the terminal, or in a pipe as wide as ids need."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=WIDTH_IN_A_PIPE)


def print_comparison(compared: Comparison, out: Console, *, whole: bool) -> None:
    """Print the counts, and with `whole` at most ROWS_MAX of the differences."""
    counts = Table("", "identical", "alike", "changed", "new", "gone", "not compared", title=Text(compared.name))
    counts_by_kind = compared.as_json()
    for kind in KINDS:
        row = counts_by_kind[f"{kind}s"]
        names = ("identical", "alike", "changes", "appears", "vanishes", "uncompared")
        counts.add_row(f"{kind}s", *(str(row[name]) for name in names))
    out.print(counts)
    for change in (*compared.cause.settings, compared.cause.model or f"model {compared.model}"):
        out.print(f"  {change}", markup=False)
    for trouble in compared.troubles:
        out.print(f"  {trouble}", markup=False, style="red")
    if compared.diff.same_bytes:
        out.print("every record that could be compared is identical, byte for byte")
    if whole and compared.diff.differences:
        _differences(compared, out)
    elif compared.diff.differences:
        out.print(f"{len(compared.diff.differences)} records differ: --diff lists them")


def _differences(compared: Comparison, out: Console) -> None:
    table = Table()
    for name in ("what", "id", "how", "in which points", "why"):
        table.add_column(name, overflow="fold")
    differences = compared.diff.differences
    for d in differences[:ROWS_MAX]:
        table.add_row(*map(Text, (d.kind, d.id, d.how, "; ".join(d.what), "; ".join(d.why))))
    out.print(table)
    if len(differences) > ROWS_MAX:
        out.print(f"and {len(differences) - ROWS_MAX} more: --json or --html has them all")
