"""`python -m jprm rl credit` and `rl hacks`: what rows make of stored rollouts, and what they pay hacks."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_type_hints

from jprm import rl
from jprm.errors import INCOMPLETE, UserError
from jprm.jobs import write_atomic
from jprm.records import fields_of
from jprm.registry import load_plugins
from jprm.report import Table, columns, print_table
from jprm.terminal import say
from jprm.worlds import load_world

AUDIT = Table(
    "credit of steps beside their exact advantage",
    columns(
        "row | groups | lost | no signal: silent_share% | steps | Spearman: spearman* | bias: bias+ | "
        "variance: variance* | sign errors: sign_errors*%"
    ),
)
HACKS = Table(
    "mean advantage of hacks and of the honest wrong solutions that they are made of",
    columns("row | hack | honest | hacked | honest, guarded: honest_guarded | hacked, guarded: hacked_guarded"),
)


def run_credit(
    run: Path, rows: str, settings: dict[str, Any], *, plugins: Sequence[Path] = (), json_file: Path | None = None
) -> int:
    """Prints the audit of rows on the judged rollouts in `run`, and returns the exit code: 3 where groups were lost.

    rows: "all", or names with commas between them. settings: of the one row that is named. Under "all", rows whose
    needs no rollout meets are left out and told. json_file gets the audit's rows. Raises UserError for unknown names
    and settings, files that cannot be read, and a row that fails on 5 % of the groups.
    """
    load_plugins(plugins)
    names = _names(rows)
    if settings and len(names) > 1:
        raise UserError(f"settings such as {next(iter(settings))} are those of one row; name it with --rows")
    for name in names:
        _check_settings(name, settings)
    groups = rl.read_judged(run)
    found = []
    for name in names:
        if missing := rl.missing_needs(name, groups):
            if rows != "all":
                raise UserError(f"{run}: the row {name} needs {' and '.join(missing)}, which no rollout has")
            say(f"left out: {name}, which needs {' and '.join(missing)}")
            continue
        found.append(rl.audit(name, groups, **settings))
    against = (
        "`exact`, the values of the policy" if rl.has_exact(groups) else "`values`, since none are stored as exact"
    )
    print_table(AUDIT.of(found, f"{len(groups)} groups; exact advantages are differences of {against}"))
    for row in found:
        if row["lost"]:
            say(f"lost: {row['lost']} of {row['groups']} groups under {row['row']}: {row['reason']}")
    _write(json_file, found)
    return INCOMPLETE if any(row["lost"] for row in found) else 0


def run_hacks(
    rows: str, problems: int, seed: int, *, plugins: Sequence[Path] = (), json_file: Path | None = None
) -> int:
    """Prints what rows pay for hacks in the embedded world with and without the guard; 3 where one pays with it.

    rows: as for `run_credit`. json_file gets a row for every row and hack. Raises UserError for unknown names.
    """
    load_plugins(plugins)
    names = _names(rows)
    for name in names:
        rl.find_row(name)
    world, found = load_world("embedded"), []
    for hack in rl.HACKS:
        groups = rl.hack_groups(hack, world, problems, seed)
        if not groups:
            raise UserError(f"--problems {problems}: none of them has two wrong solutions; ask for more")
        found += [rl.hack_rewards(name, hack, groups) for name in names]
    paid = [each for each in sorted(found, key=lambda f: names.index(f.row)) if each.pays or each.pays_guarded]
    note = f"{len(paid)} of {len(found)} pairs of a row and a hack are paid without the guard; the others are not shown"
    print_table(HACKS.of([asdict(each) for each in paid], note))
    caught = sum(each.caught for each in found) / len(found)
    guarded = [each for each in found if each.pays_guarded]
    say(f"the guard has a reason against {caught:.1%} of the hacked solutions; with it {len(guarded)} pairs are paid")
    _write(json_file, [asdict(each) for each in found])
    return INCOMPLETE if guarded else 0


def _check_settings(name: str, settings: dict[str, Any]) -> None:
    """Raises UserError for an unknown row, for a setting that it does not have, and for a value of another type."""
    rl.check_settings(name, settings)
    types = get_type_hints(rl.find_row(name).credit)
    try:
        fields_of(settings, {key: types[key] for key in settings if key in types})
    except UserError as error:
        raise UserError(f"the row {name}: {error}") from None


def _names(rows: str) -> list[str]:
    return list(rl.row) if rows == "all" else [name.strip() for name in rows.split(",")]


def _write(path: Path | None, rows: Iterable[dict[str, Any]]) -> None:
    if path is not None:
        write_atomic(path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))
