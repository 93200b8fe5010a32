"""Configuration: frozen pydantic models, TOML files, dotted overrides, and every mistake named.

`load(SweepConfig, "configs/sweep/laws.toml", ["train.steps=200"])` reads the file and what it `extends`, lays the
overrides over it and checks the result. Nothing here imports JAX: a typo is answered before it costs a second.

Invariant: a value is known by where it came from, file or command line, until it has been checked.
"""

import difflib
import hashlib
import json
import pkgutil
import tomllib
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin

import pydantic

from jprm.errors import UserError

COMMAND_LINE = "the command line"
LARGEST_FILE_BYTES = 16 << 20


class Config(pydantic.BaseModel):
    """Base of every section: immutable, and unknown keys are errors. The text below a field is its description."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


C = TypeVar("C", bound=pydantic.BaseModel)


def load(
    cls: type[C],
    path: Path | str | None = None,
    overrides: Sequence[str] = (),
    others: Mapping[str, str] = types.MappingProxyType({}),
) -> C:
    """Reads a TOML file and lays `key=value` overrides over it, of which the later ones win.

    The value of an override is TOML; what is not valid TOML, and whatever is given to a key that holds text, is taken
    as it stands. others: the configurations of other commands, {"train": "jprm.train.config:RunConfig"}, by which a
    file of theirs is recognised; they are imported only when a key is unknown.
    Raises UserError naming the key and where it came from.
    """
    return _checked(cls, [] if path is None else _layers(Path(path)), overrides, others)


def checked(cls: type[C], table: dict[str, Any], where: str) -> C:
    """Checks a table of values that came from `where`. Raises UserError as `load` does."""
    return _checked(cls, [(where, table)], ())


def overridden(config: C, where: str, overrides: Sequence[str]) -> C:
    """Lays `key=value` overrides over a configuration that came from `where`. Raises UserError as `load` does."""
    layer = json.loads(config.model_dump_json(exclude_unset=True))
    return _checked(type(config), [(where, layer)], overrides)


def settings_of(words: Sequence[str]) -> dict[str, Any]:
    """Returns the settings of something that is chosen by name, from key=value words; values are TOML, else text.

    Raises UserError for another word.
    """
    settings: dict[str, Any] = {}
    for word in words:
        key, equals, raw = word.partition("=")
        if not equals or not key.isidentifier():
            raise UserError(f"{word!r} is no setting; write key=value, such as width=4")
        settings[key] = _toml(raw)
    return settings


def _checked(
    cls: type[C],
    layers: Sequence[tuple[str, dict[str, Any]]],
    overrides: Sequence[str],
    others: Mapping[str, str] = types.MappingProxyType({}),
) -> C:
    """Lays later layers over earlier ones and checks the result."""
    known = known_keys(cls)
    table: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for where, layer in [*layers, *((COMMAND_LINE, _override(o, known)) for o in overrides)]:
        for key in _leaves(layer):
            if not _is_known(key, known):
                owner = _owner(layer, key, known, others)
                if owner and where != COMMAND_LINE:
                    raise UserError(f"{where}: that is a file for `{owner}`")
                raise UserError(_unknown(key, where, known) + (f" It is a key of `{owner}`." if owner else ""))
            origin = {k: v for k, v in origin.items() if not k.startswith(key + ".")}
            origin[key] = where
        table = _merge(table, layer)
    try:
        return cls.model_validate(table)
    except pydantic.ValidationError as error:
        raise UserError(_reason(error, origin)) from None


def replaced(config: C, values: dict[str, Any], where: str) -> C:
    """Puts other values at these dotted keys of a configuration, and checks it anew.

    Raises UserError naming the key and `where` it came from.
    """
    known = known_keys(type(config))
    table = config.model_dump()
    for key, value in values.items():
        if not _is_known(key, known):
            raise UserError(_unknown(key, where, known))
        for part in reversed(key.split(".")):
            value = {part: value}
        table = _merge(table, value)
    try:
        return type(config).model_validate(table)
    except pydantic.ValidationError as error:
        raise UserError(_reason(error, dict.fromkeys(values, where))) from None


def known_keys(cls: type[pydantic.BaseModel], prefix: str = "") -> dict[str, Any]:
    """Returns every dotted key of a configuration and the type that it is declared with.

    Where a value may be a section or something else, as in `str | ModelChoice`, both are keys.
    """
    keys: dict[str, Any] = {}
    for name, field in cls.model_fields.items():
        kinds = _members(field.annotation)
        sections = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)]
        if len(sections) < len(kinds):
            keys[prefix + name] = field.annotation
        for section in sections:
            keys |= known_keys(section, f"{prefix}{name}.")
    return keys


def fingerprint(value: Any) -> str:
    """Returns 16 hex digits over the canonical JSON of plain values, paths and configurations."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def plain(value: Any) -> Any:
    """Returns the JSON of a path or a configuration (for `json.dumps(default=plain)`).

    Anything else is a TypeError: its text might hold an address and differ from run to run.
    """
    if isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no canonical JSON")


def toml(table: Mapping[str, Any], section: str = "") -> str:
    """Returns a table of plain values, none of them null, as TOML, which `load` reads."""
    plain_values = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    lines = [f"{key} = {_toml_text(value)}\n" for key, value in plain_values.items()]
    for key in [key for key in table if key not in plain_values]:
        lines.append(f"\n[{section}{key}]\n" + toml(table[key], f"{section}{key}."))
    return "".join(lines)


def _toml_text(value: Any) -> str:
    """The JSON of a value without tables, which is TOML but for one character that JSON does not escape."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _layers(path: Path, above: tuple[Path, ...] = ()) -> list[tuple[str, dict[str, Any]]]:
    """Returns a file and those that it extends, the most basic first."""
    if path.resolve() in above:
        raise UserError(f"{path}: extends itself; remove the circle of `extends`")
    try:
        with open(path, "rb") as file:
            text = file.read(LARGEST_FILE_BYTES + 1)
        if len(text) > LARGEST_FILE_BYTES:
            raise UserError(f"{path}: larger than a configuration ever is; name another file")
        table = tomllib.loads(text.decode("utf-8-sig").replace("\r\n", "\n"))
    except OSError as error:
        raise UserError(f"{path}: cannot read the configuration ({error.strerror})") from None
    except (ValueError, RecursionError) as error:  # an integer of 5000 digits is a bare ValueError
        raise UserError(f"{path}: not valid TOML ({error})") from None
    base = table.pop("extends", None)
    if base is None:
        return [(str(path), table)]
    if not isinstance(base, str):
        raise UserError(f"{path}: extends = {base!r} must be the path of a TOML file")
    return [*_layers(path.parent / base, (*above, path.resolve())), (str(path), table)]


def _override(text: str, known: dict[str, Any]) -> dict[str, Any]:
    """Returns the nested table of one `a.b=value`."""
    key, equals, raw = text.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise UserError(f"{text!r} is not an override; write key=value, such as train.steps=200")
    value: Any = _toml(raw)
    if not isinstance(value, str) and _holds_text(known.get(".".join(parts))):
        value = raw.strip()  # name=2024 is a name, not a number
    for part in reversed(parts[1:]):
        value = {part: value}
    return {parts[0]: value}


def _toml(raw: str) -> Any:
    try:
        table = tomllib.loads(f"value = {raw}")
    except (ValueError, RecursionError):
        return raw
    return table["value"] if len(table) == 1 else raw


def _holds_text(kind: Any) -> bool:
    return all(k in (str, Path, types.NoneType) for k in _members(kind))


def _members(kind: Any) -> tuple[Any, ...]:
    """The members of a union; any other type by itself."""
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _leaves(table: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in table.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def _is_known(key: str, known: dict[str, Any]) -> bool:
    """Returns whether a key is declared, is a section, or lies in a table whose keys are free."""
    if key in known or any(k.startswith(key + ".") for k in known):
        return True
    return any(key.startswith(k + ".") for k, kind in known.items() if get_origin(kind) is dict)


def _owner(layer: dict[str, Any], key: str, known: dict[str, Any], others: Mapping[str, str]) -> str:
    """Returns the command that knows this key and more keys of the layer than `known` and the others; "" for none."""
    keys = list(_leaves(layer))
    best, most = "", sum(_is_known(k, known) for k in keys)
    for command, name in others.items():
        theirs = known_keys(pkgutil.resolve_name(name))
        count = sum(_is_known(k, theirs) for k in keys)
        if count > most and _is_known(key, theirs):
            best, most = command, count
    return best


def _unknown(key: str, where: str, known: dict[str, Any]) -> str:
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
    return f'unknown key "{key}" (from {where}); did you mean "{nearest}"?'


def _reason(error: pydantic.ValidationError, origin: dict[str, str]) -> str:
    """Returns the first complaint of pydantic in one line: key, value, where it was set, what is wrong."""
    errors = error.errors(include_url=False)
    # Of a section that might have been a text, only what is wrong with the section is of interest.
    first = next((e for e in errors if not (e["type"] == "string_type" and isinstance(e["input"], dict))), errors[0])
    key = ".".join(str(part) for part in first["loc"] if part != "str" and not str(part)[:1].isupper())  # no types
    reason = first["msg"].removeprefix("Value error, ").replace("\n", " ")
    if not key:
        return f"configuration: {reason}"
    about = [w for k, w in origin.items() if f"{key}.".startswith(f"{k}.") or k.startswith(f"{key}.")]
    where = f" (from {', '.join(dict.fromkeys(about))})" if about else ""
    of_section = first["type"] == "missing" or isinstance(first["input"], dict | pydantic.BaseModel)
    value = "" if of_section else f" = {first['input']!r}"
    return f"{key}{value}{where}: {reason}"
