"""The fields of a checkpoint's `config.json`, read with checks; errors name the file and the field."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from jprm.errors import UserError
from jprm.strict_json import read_object

FILE = "config.json"
MOST = 1 << 30  # far beyond every model there is


@dataclasses.dataclass(frozen=True)
class Fields:
    """The fields of one JSON object of a file, read with checks; errors name file and field."""

    where: str
    values: dict[str, Any]

    def get(self, key: str, default: Any = None) -> Any:
        """Returns the value as it stands in the file; `default` where it is absent or null."""
        value = self.values.get(key)
        return default if value is None else value

    def integer(self, key: str, most: int = MOST) -> int:
        """Returns the value as an integer from 1 to `most`. Raises UserError where it is none."""
        value = self._present(key)
        if type(value) is not int or not 1 <= value <= most:
            raise self.wrong(key, f"a positive integer up to {most}")
        return value

    def number(self, key: str) -> float:
        """Returns the value as a positive finite number. Raises UserError where it is none."""
        value = self._present(key)
        if type(value) not in (int, float) or not 0 < value < float("inf"):
            raise self.wrong(key, "a positive number")
        return float(value)

    def optional(self, key: str, default: Any = None) -> Any:
        """Returns the value as `number` does; `default` where it is absent or null."""
        return default if self.get(key) is None else self.number(key)

    def flag(self, key: str, default: bool = False) -> bool:
        """Returns the value, true or false; `default` where it is absent. Raises UserError where it is neither."""
        value = self.get(key, default)
        if type(value) is not bool:
            raise self.wrong(key, "true or false")
        return value

    def names(self, key: str) -> list[str]:
        """Returns the value as a list of strings, empty where it is absent. Raises UserError for others."""
        value = self.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(key, "a list of names")
        return value

    def wrong(self, key: str, wanted: str) -> UserError:
        """Makes the error for a field that is not what is wanted."""
        return UserError(f"{self.where}: {key} = {self.values.get(key)!r:.40} must be {wanted}")

    def _present(self, key: str) -> Any:
        if self.values.get(key) is None:
            raise UserError(f"{self.where}: the field {key!r} is missing")
        return self.values[key]


def read_fields(directory: Path) -> Fields:
    """Returns the checked fields of `directory`/config.json. Raises UserError where there are none."""
    path = Path(directory) / FILE
    return Fields(str(path), read_object(path, "is this the directory of a Hugging Face checkpoint?"))
