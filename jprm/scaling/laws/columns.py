"""Which columns of a table are parameters, tokens, FLOPs, loss and the name of the run."""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from typing import Literal

from jprm.errors import UserError
from jprm.scaling.laws.table import RunTable

Role = Literal["params", "tokens", "flops", "loss", "run"]
# By which a column is found where none is named; the first that a table has is taken.
KNOWN: dict[Role, tuple[str, ...]] = {
    "params": ("model_params", "params", "parameters", "n_params", "model_size", "N"),
    "tokens": ("train_tokens", "training_tokens", "tokens", "n_tokens", "D"),
    "flops": ("train_flops", "training_flops", "training_flop", "flops", "flop", "compute", "C"),
    "loss": (
        *("held_out_loss", "val_loss", "validation_loss", "eval_loss", "test_loss"),
        *("final_loss", "loss", "L", "train_loss"),
    ),
    "run": ("run", "run_id", "run_name"),
}
# In the results of a sweep these are of judging, not of training.
_OF_JUDGING = {"tokens", "flops"}


@dataclass(frozen=True)
class Columns:
    """A column name for each role, None where there is none (or, when asking, none is named)."""

    params: str | None = None
    tokens: str | None = None
    flops: str | None = None
    loss: str | None = None
    run: str | None = None

    def found_in(self, table: RunTable, derive_tokens: bool = False) -> Columns:
        """The columns of a table: those named here, and the others by the names of `KNOWN`.

        With `derive_tokens` there is no column of tokens. Raises UserError for a named column that
        the table lacks, with close matches, and where parameters, loss, or both tokens and FLOPs
        are not to be found.
        """
        if derive_tokens and self.tokens:
            raise UserError("--tokens names a column and --tokens-from-flops asks for none; keep one")
        found = dataclasses.replace(self, **{role: _column(table, role, getattr(self, role)) for role in KNOWN})
        if derive_tokens:
            found = dataclasses.replace(found, tokens=None)
        for role in ("params", "loss"):
            if getattr(found, role) is None:
                raise _missing(table, role)
        if found.flops is None and (derive_tokens or found.tokens is None):
            raise _missing(table, "flops" if derive_tokens else "tokens")
        return found

    def __str__(self) -> str:
        named = ((role, getattr(self, role)) for role in KNOWN)
        return ", ".join(f"{role} {name!r}" for role, name in named if name)


def is_sweep(table: RunTable) -> bool:
    """Whether the rows are those of `results.jsonl` of a sweep of verifiers."""
    return {"n_votes", "held_out_loss"} <= set(table.names)


def existing(table: RunTable, asked: str, option: str) -> str:
    """The column of that name, up to case and punctuation. Raises UserError with close matches."""
    if asked in table.names:
        return asked
    alike = [name for name in table.names if _bare(name) == _bare(asked)]
    if len(alike) == 1:
        return alike[0]
    near = difflib.get_close_matches(asked, table.names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near and not alike else ""
    raise UserError(f"{table.source}: no column {asked!r} ({option}); {hint}it has {_listed(table.names)}")


def _column(table: RunTable, role: Role, asked: str | None) -> str | None:
    if asked is not None:
        return existing(table, asked, f"--{role}")
    taken = _OF_JUDGING if is_sweep(table) else set()
    of_bare = {_bare(name): name for name in reversed(table.names) if name not in taken}
    return next((of_bare[_bare(name)] for name in KNOWN[role] if _bare(name) in of_bare), None)


def _missing(table: RunTable, role: Role) -> UserError:
    also = " or --flops" if role == "tokens" else ""
    return UserError(
        f"{table.source}: which column holds the {role}? Name it with --{role}{also}; it has {_listed(table.names)}"
    )


def _bare(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _listed(names: tuple[str, ...], most: int = 20) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more
