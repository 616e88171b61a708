"""Settings of a run: a frozen dataclass whose fields a TOML file and `key=value` overrides fill."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from pubmedbert.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Checks types, reads and writes TOML; a subclass adds fields (`str`, `int`, `float`, `bool`) and their ranges."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if field.type == "str" and not isinstance(value, str):
                raise InputError(f"recipe: {field.name} must be text, not {value!r}")
            if field.type == "bool" and not isinstance(value, bool):
                raise InputError(f"recipe: {field.name} must be true or false, not {value!r}")
            if field.type == "int" and not whole:
                raise InputError(f"recipe: {field.name} must be a whole number, not {value!r}")
            if field.type == "float" and not ((whole and abs(value) < 2**63) or isinstance(value, float)):
                raise InputError(f"recipe: {field.name} must be a number, not {value!r}")
            if field.type == "float":
                object.__setattr__(self, field.name, float(value))

    @classmethod
    def made(cls, values: Mapping[str, Any], source: str) -> Self:
        """The settings with these values.

        Args:
            values: by field.
            source: where they are from, for error messages.

        Raises:
            InputError: an unknown key, a wrong type, or a value out of range.
        """
        known = {field.name for field in fields(cls)}
        for key in values:
            if key not in known:
                raise InputError(f"{source}: unknown setting {key!r}; there are {', '.join(sorted(known))}")
        return cls(**values)

    def toml(self) -> str:
        """Every setting, as TOML."""
        return "".join(f"{key} = {toml_value(value)}\n" for key, value in asdict(self).items())

    def _within(self, name: str, least: float, most: float) -> None:
        value = getattr(self, name)
        if not least <= value <= most:
            raise InputError(f"recipe: {name} must be from {least:g} to {most:g}, not {str(value)[:20]}")

    def _one_of(self, name: str, choices: Iterable[str]) -> None:
        value = getattr(self, name)
        if value not in (known := list(choices)):
            raise InputError(f"recipe: {name} must be one of {', '.join(known)}, not {value!r}")


def read_toml(path: Path) -> dict[str, Any]:
    """The table of a TOML file.

    Raises:
        InputError: it can't be read or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, no TOML, or nested too deep
        raise InputError(f"{path} is not TOML: {error}") from error


def overrides(given: Iterable[str]) -> dict[str, object]:
    """`key=value` pairs of the command line; values are written as in TOML, text may go without quotes.

    Raises:
        InputError: one of them is no `key=value`.
    """
    values: dict[str, object] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--set takes key=value, not {text!r}")
        values[key.strip()] = _parse(value.strip())
    return values


def _parse(value: str) -> object:
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):
        return value


def toml_value(value: object) -> str:
    """A value as TOML has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {toml_value(part)}" for key, part in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # as TOML has it, but for DEL
    return repr(value)
