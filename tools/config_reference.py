"""Writes docs/configuration.md, the reference of every key, from the descriptions beside the fields.

    python -m tools.config_reference            writes the page
    python -m tools.config_reference --check    exit code 1 where the page is not what this would write

A key without a description is an error that names it.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from jprm.config import load
from jprm.errors import UserError
from jprm.experiments.applications.config import ApplicationsConfig
from jprm.experiments.benchmark.config import OPTIONS, BenchmarkConfig
from jprm.experiments.sweep.config import Axis, SweepConfig
from jprm.tasks.settings import ModelChoice
from jprm.train.config import RunConfig
from jprm.verify import Critique, GenPRM, ThinkPRM
from jprm.worlds.embedded import EmbeddedSettings
from jprm.worlds.gsm8k import Gsm8kSettings
from jprm.worlds.problems import ProblemsSettings
from tools.pages import cell, prose, written

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "configuration.md"
LONGEST_VALUE = 80  # characters of a default that is shown; the texts of protocols are longer

WORLD_SETTINGS: dict[str, type[BaseModel]] = {
    "embedded": EmbeddedSettings,
    "gsm8k": Gsm8kSettings,
    "problems": ProblemsSettings,
}
PROTOCOLS: dict[str, type[BaseModel]] = {"genprm": GenPRM, "thinkprm": ThinkPRM, "critic": Critique}
CONFIGURATIONS: tuple[type[BaseModel], ...] = (
    *(SweepConfig, Axis, ApplicationsConfig, RunConfig, BenchmarkConfig),
    *(*WORLD_SETTINGS.values(), *PROTOCOLS.values()),
)

SCALARS = {int: "integer", float: "number", str: "text", bool: "true or false", Path: "path", Any: "any value"}
BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}

INTRODUCTION = """# Configuration

All keys, with type, default and meaning. `python -m tools.config_reference` writes this page from the descriptions in
the code, and a test holds it current.

A configuration is a TOML file, and `key=value` overrides it on the command line: `train.steps=200`,
`'grid.seeds=[0, 1]'`. A value is TOML; text needs no quotes there. `extends = "other.toml"` at the top of a file takes
over another file. An unknown key is an error that names the nearest known one. "-" stands for "not set"."""

TRAIN = "`python -m jprm train --config FILE [KEY=VALUE ...]`; examples are in `configs/train/`."
SWEEP = """`python experiments/sweep.py [FILE] [KEY=VALUE ...]` or `python -m jprm sweep`; examples are in
`configs/sweep/`. Without a file and overrides the defaults are the embedded sweep. `python -m jprm label` takes
the same keys."""
APPLICATIONS = """`python experiments/uses.py [FILE] [KEY=VALUE ...]` or `python -m jprm uses`; an example is
`configs/uses/quick.toml`. All keys of the sweep hold here, too; below stand those that are new or have another
default."""
EVALUATE = """The options of `python -m jprm evaluate`. It reads no file but that of the protocol, whose keys follow;
`--temperature` sets `sampling.temperature` there."""
PROTOCOL = """`python -m jprm evaluate --scorer {scorer} [--protocol FILE] [KEY=VALUE ...]`. The values are those of
`{file}`; long texts are cut here."""


@dataclasses.dataclass(frozen=True)
class Key:
    """One key of a configuration: its dotted name, and what the field says."""

    name: str
    field: FieldInfo

    @property
    def default(self) -> Any:
        """The default, or a text that says that the key must be given."""
        return self.field.get_default(call_default_factory=True)


def sections(cls: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel], list[Key]]]:
    """Yields the keys of a configuration by its top-level sections: (name, class, keys); its own keys come first."""
    yield "", cls, [Key(name, field) for name, field in cls.model_fields.items() if not _section(field)]
    for name, field in cls.model_fields.items():
        section = _section(field)
        if section:
            yield name, section, list(_keys(section, f"{name}."))


def undescribed() -> list[str]:
    """The keys of all configurations that have no description, each with the class it belongs to."""
    return [
        f"{cls.__name__}: {key.name}"
        for cls in CONFIGURATIONS
        for _, _, keys in sections(cls)
        for key in keys
        if not key.field.description
    ]


def page() -> str:
    """The whole page. Raises UserError where keys have no description."""
    missing = undescribed()
    if missing:
        raise UserError(f"keys without a description: {', '.join(missing)}; write one below each field")
    parts = [INTRODUCTION, "## sweep", SWEEP, *_configuration(SweepConfig)]
    parts += ["### axes", _about(Axis), "Each `[[axes]]` of a file has these keys.", _table(list(_keys(Axis, "")))]
    parts += ["### model.policy as a table", _about(ModelChoice), _table(list(_keys(ModelChoice, "model.policy.")))]
    for name, settings in WORLD_SETTINGS.items():
        keys = list(_keys(settings, "world.settings."))
        parts += [f"### world.settings of `world.kind = {json.dumps(name)}`", _about(settings), _table(keys)]
    parts += ["## applications", APPLICATIONS, *_configuration(ApplicationsConfig, _defaults(SweepConfig))]
    parts += ["## train", TRAIN, *_configuration(RunConfig)]
    options = [
        dataclasses.replace(k, name=_option(k.name)) for k in _keys(BenchmarkConfig, "") if k.name != "overrides"
    ]
    parts += ["## evaluate", EVALUATE, _table(options)]
    for scorer, cls in PROTOCOLS.items():
        file = Path("configs", "verify", f"{cls.__name__.lower()}.toml")
        values = _flat(load(cls, ROOT / file).model_dump())
        parts += [f"### protocol of {scorer}", PROTOCOL.format(scorer=scorer, file=file)]
        parts += [_table(list(_keys(cls, "")), values)]
    return "\n\n".join(parts) + "\n"


def main(arguments: list[str]) -> int:
    """Writes the page, or with `--check` compares it."""
    return written(page, PAGE, "tools.config_reference", "--check" in arguments)


def _section(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _keys(cls: type[BaseModel], prefix: str) -> Iterator[Key]:
    """Yields the keys of a section and of the sections in it."""
    for name, field in cls.model_fields.items():
        section = _section(field)
        if section:
            yield from _keys(section, f"{prefix}{name}.")
        else:
            yield Key(prefix + name, field)


def _defaults(cls: type[BaseModel]) -> dict[str, Any]:
    return {key.name: key.default for _, _, keys in sections(cls) for key in keys}


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in table.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _configuration(cls: type[BaseModel], known: dict[str, Any] | None = None) -> Iterator[str]:
    """Yields the headings and tables of a configuration, without keys whose default is the known one."""
    for name, section, keys in sections(cls):
        keys = [key for key in keys if known is None or known.get(key.name, known) != key.default]
        if keys and name:
            yield from (f"### {name}", _about(section))
        if keys:
            yield _table(keys)


def _about(cls: type[BaseModel]) -> str:
    return inspect.cleandoc(cls.__doc__ or "")


def _option(name: str) -> str:
    return "--" + OPTIONS.get(name, name).replace("_", "-")


def _table(keys: list[Key], values: dict[str, Any] | None = None) -> str:
    """The table of some keys; values: what is shown in the place of their defaults."""
    heading = "default" if values is None else "value"
    lines = [f"| key | type | {heading} | meaning |", "|---|---|---|---|"]
    for key in keys:
        value = key.default if values is None else values.get(key.name, key.default)
        shown = "required" if values is None and key.field.is_required() else _value(value)
        cells = (f"`{key.name}`", _type(key.field), shown, prose(" ".join((key.field.description or "").split())))
        lines.append(f"| {' | '.join(map(cell, cells))} |")
    return "\n".join(lines)


def _type(field: FieldInfo) -> str:
    """The type in words, with the bounds of its values."""
    limits = [
        f"{words} {getattr(bound, name):g}"
        for bound in field.metadata
        for name, words in BOUNDS.items()
        if isinstance(bound, annotated_types.BaseMetadata) and hasattr(bound, name)
    ]
    return ", ".join([_kind(field.annotation), *limits])


def _kind(kind: Any) -> str:
    arguments = get_args(kind)
    origin = get_origin(kind)
    if origin is Literal:
        return " or ".join(f"`{json.dumps(value)}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_kind(part) for part in arguments if part is not types.NoneType)
    if origin is typing.Annotated:
        return _kind(arguments[0])
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"list of {_plural(arguments[0])}"
    if origin is tuple:
        return f"list of {len(arguments)} {_plural(arguments[0])}"
    if origin is dict:
        return "table"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "table"
    return SCALARS.get(kind, getattr(kind, "__name__", str(kind)))


def _plural(kind: Any) -> str:
    words = _kind(kind)
    if words in ("integer", "number", "text", "path", "table"):
        return f"{words}s"
    return re.sub(r"^list of", "lists of", words)


def _value(value: Any) -> str:
    """A default as it would stand in a TOML file, in backticks."""
    if value is None:
        return "-"
    text = json.dumps(value, default=str, ensure_ascii=False)
    if len(text) > LONGEST_VALUE:
        text = f"{text[: LONGEST_VALUE - 4]} ..."
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    return f"{fence}{text}{fence}" if len(fence) == 1 else f"{fence} {text} {fence}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
