"""This file shows the figures of compiled programs as a table."""

from collections.abc import Sequence

from jprm.aot.programs import Compiled
from jprm.aot.slices import Slice
from jprm.report.tables import Column, Table

COLUMNS = (
    Column("program", "program"),
    Column("devices", "devices"),
    Column("peak, GB", "peak_gb"),
    Column("our plan, GB", "planned_gb"),
    Column("temporaries, GB", "temporary_gb"),
    Column("sent, GB", "sent_gb"),
    Column("products, ms", "products_ms"),
    Column("memory, ms", "memory_ms"),
    Column("links, ms", "links_ms"),
    Column("tokens/s at most", "tokens_per_s_at_most"),
    Column("MFU at most", "mfu_at_most", "share"),
    Column("compiled in, s", "compile_s"),
)
NOTE = (
    "Bytes and milliseconds are those of one device in one call. A call takes at least as long as the slowest of its "
    "products, its memory reads and its links. The reads count every weight and cache entry once. Nothing was run."
)


def program_table(found: Sequence[Compiled], on: Slice) -> Table:
    """Returns a table with a row for each program."""
    title = f"{on.name}: {len(on.devices)} chips of {on.chip.memory_bytes / 1e9:.1f} GB"
    return Table(title, COLUMNS, [_row(each.to_json()) for each in found], NOTE)


def traffic_lines(found: Sequence[Compiled]) -> list[str]:
    """Says what a device sends in a call of each program, by the kind of collective."""
    lines = []
    for each in found:
        sent = each.traffic
        kinds = [f"{kind} {sent.calls[kind]} times, {size / 1e9:.3g} GB" for kind, size in sorted(sent.bytes.items())]
        lines.append(f"{each.program.name}: a device sends {'; '.join(kinds) or 'nothing'}")
    return lines


def _row(figures: dict) -> dict:
    row = {**figures, "sent_gb": sum(figures["sent_bytes"].values()) / 1e9}
    row |= {f"{name}_gb": round(figures[f"{name}_bytes"] / 1e9, 2) for name in ("peak", "planned", "temporary")}
    row |= {f"{name}_ms": float(f"{1e3 * figures[f'{name}_s']:.3g}") for name in ("products", "memory", "links")}
    return row | {"sent_gb": float(f"{row['sent_gb']:.3g}"), "tokens_per_s_at_most": round(row["tokens_per_s_at_most"])}
