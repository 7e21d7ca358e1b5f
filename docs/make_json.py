"""Write what `--json` prints, from the types: docs/json.md, and a JSON Schema for each verb in docs/schemas.

A test holds pages and types together; another, real answers and types.
"""

import dataclasses
import inspect
import json
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from writing import write

from ctstate.commands.schemas import ANSWERS, SILENT, answer_type

INTRODUCTION = """# What --json prints

Made from the types by `make docs`.

Every verb that reports takes `--json` and then prints one JSON document, and nothing else, on the standard output;
warnings, and what `upload` says while it works, go to the error stream. An error is a line on the error stream, as
ever, and the exit codes are the same. Every field is always there. Fields are added, never renamed or removed
([stability.md](stability.md)). The JSON Schema of each verb is in `docs/schemas`, and the tests hold what the verbs
really print against these types.

Verbs without it: {silent}. `manifest --csv`, which reads a folder and writes a CSV, prints what `export` prints.
"""


def documents() -> dict[str, str]:
    """Return what belongs in docs/, by path."""
    silent = "; ".join(f"`{verb}` ({why})" for verb, why in SILENT.items())
    parts = [INTRODUCTION.format(silent=silent)]
    verbs_of: dict[Any, list[str]] = {}
    for verb in ANSWERS:
        kind, listed = answer_type(verb)
        verbs_of.setdefault((str(kind), listed), []).append(verb)
    made = {}
    for verb in ANSWERS:
        kind, listed = answer_type(verb)
        schema = _schema(kind, listed)
        text = json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **_tidy(schema)}, indent=2)
        made[f"schemas/{verb.replace(' ', '-')}.json"] = text + "\n"
        verbs = verbs_of[(str(kind), listed)]
        if verb == verbs[0]:
            parts.append(_section(verbs, kind, listed))
    return {"json.md": "\n".join(parts), **made}


def _schema(kind: Any, listed: bool) -> dict[str, Any]:
    """Return the JSON Schema of an answer: of one type, or of any of several."""
    kinds = [_as_object(one) for one in _each(kind)]
    schemas, below = msgspec.json.schema_components(kinds, schema_hook=_schema_of, ref_template="#/$defs/{name}")
    one = schemas[0] if len(kinds) == 1 else {"anyOf": list(schemas)}
    made = {"type": "array", "items": one} if listed else one
    return {**made, "$defs": below} if below else made


def _each(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)


def _as_object(kind: Any) -> Any:
    """Return the type whose schema is meant: a named tuple is printed as an object, not as a list."""
    if not hasattr(kind, "_fields"):
        return kind
    return msgspec.defstruct(kind.__name__, list(_fields(kind).items()), namespace={"__doc__": kind.__doc__})


def _schema_of(kind: type) -> dict[str, Any]:
    assert issubclass(kind, Path), kind
    return {"type": "string"}


def _tidy(schema: Any) -> Any:
    """Keep of descriptions what is about a document, not about Python; every field is always there."""
    if isinstance(schema, dict):
        made = {key: _tidy(value) for key, value in schema.items()}
        if isinstance(made.get("description"), str):
            made["description"] = _summary(made["description"])
        if isinstance(made.get("anyOf"), list):  # in which order is the library's affair
            made["anyOf"].sort(key=lambda one: one == {"type": "null"})
        if isinstance(made.get("properties"), dict):
            made["required"] = list(made["properties"])
            for described in made["properties"].values():
                described.pop("default", None)
        return made
    return [_tidy(one) for one in schema] if isinstance(schema, list) else schema


def _section(verbs: list[str], kind: Any, listed: bool) -> str:
    parts = [f"## {', '.join(verbs)}\n"]
    if kind == dict[str, Any]:
        return "\n".join([*parts, "A list with an object for each row of the answer: its columns.\n"])
    if listed:
        parts.append("A list of:\n")
    for number, one in enumerate(dict.fromkeys(part for each in _each(kind) for part in _with_those_below(each))):
        summary = _summary(inspect.getdoc(one) or "")
        parts.append(f"{f'**{one.__name__}**: ' if number else ''}{summary}\n")
        meanings = _meanings(one)
        parts += ["| field | type | |", "| --- | --- | --- |"]
        parts += [f"| {name} | {_words(hint)} | {meanings.get(name, '')} |" for name, hint in _fields(one).items()]
        parts.append("")
    return "\n".join(parts)


def _summary(text: str) -> str:
    return _in_json(" ".join(text.partition("\n\n")[0].split()))


def _in_json(text: str) -> str:
    return re.sub(r"\bNone\b", "null", text)


def _meanings(kind: Any) -> dict[str, str]:
    """Return what the docstrings of a type and of those it is made of say of each field."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        text = inspect.cleandoc(base.__doc__ or "").partition("Attributes:\n")[2]
        for names, meaning in re.findall(r"^ {4}(\w[\w, ]*): (.+(?:\n {8}.+)*)", text, re.MULTILINE):
            # A row of the table is a line; what is said of several fields is said at the first.
            first, *others = [name.strip() for name in names.split(",")]
            found[first] = _in_json(" ".join(meaning.split()).replace("|", "\\|"))
            found.update(dict.fromkeys(others, f"(see {first})"))
    return found


def _fields(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    if dataclasses.is_dataclass(kind):
        names = tuple(field.name for field in dataclasses.fields(kind))
    else:
        names = kind._fields if hasattr(kind, "_fields") else kind.__struct_fields__
    return {name: hints[name] for name in names}


def _with_those_below(kind: Any) -> Iterator[Any]:
    yield kind
    for hint in _fields(kind).values():
        for part in _parts(hint):
            if hasattr(part, "__struct_fields__"):
                yield from _with_those_below(part)


def _parts(hint: Any) -> Iterator[Any]:
    yield hint
    for argument in typing.get_args(hint):
        yield from _parts(argument)


def _words(hint: Any) -> str:
    """Return a type in the words of JSON."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_words(one) for one in arguments)
    if origin is list:
        return f"list of {_words(arguments[0])}"
    if origin is tuple:
        return f"list of {', '.join(_words(one) for one in arguments)}"
    if origin is dict:
        return f"object of {_words(arguments[1])}"
    plain = {
        str: "text",
        int: "whole number",
        float: "number",
        bool: "true or false",
        type(None): "null",
        Any: "any",
    }
    return plain.get(
        hint, "text" if isinstance(hint, type) and issubclass(hint, Path) else getattr(hint, "__name__", "any")
    )


if __name__ == "__main__":
    write(documents(), "schemas", "json")
