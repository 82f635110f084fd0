"""What pydantic found wrong, said so that the writer of the file can mend it."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from enos_crdb.config.base import Section
from enos_crdb.config.experiment import Configuration

SCALARS = frozenset({"str", "int", "float", "bool"})
"""How pydantic names the members of a union of plain values."""


def complain(error: ValidationError, *, source: str, lines: Mapping[str, int]) -> str:
    """One paragraph per problem: file, line, key path, what is wrong, what is allowed."""
    problems = [_problem(item, source, lines) for item in error.errors(include_url=False)]
    return "\n".join(dict.fromkeys(problems))  # a union may say the same thing once per branch


def _problem(item: Any, source: str, lines: Mapping[str, int]) -> str:
    path, owner = _walk(item["loc"])
    where = ".".join(path)
    line = next((lines[key] for key in _prefixes(path) if key in lines), None)
    place = f"{source}:{line}" if line else source
    return f"{place}: {where + ': ' if where else ''}{_say(item, path, owner)}"


def _prefixes(path: tuple[str, ...]) -> Iterable[str]:
    return (".".join(path[:length]) for length in range(len(path), 0, -1))


def _say(item: Any, path: tuple[str, ...], owner: type[Section] | None) -> str:
    context = item.get("ctx", {})
    if item["loc"] and item["loc"][-1] in SCALARS:
        return f"expected a single value (text, number, true or false), found {item['input']!r}."
    match item["type"]:
        case "extra_forbidden" if owner:
            return _unknown_key(path[-1], owner.model_fields)
        case "missing":
            return "is missing; it has no default."
        case "literal_error":
            return f"{item['input']!r} is not allowed; it must be {context['expected']}.{_nearest_value(item)}"
        case "union_tag_invalid":
            tag = str(context["discriminator"]).strip("'")
            return f"{tag} {context['tag']!r} is not known; it must be one of {context['expected_tags']}."
        case "union_tag_not_found":
            tag = str(context["discriminator"]).strip("'")
            return f"the key `{tag}` is missing; it decides which other keys there are."
        case "model_type":
            return f"expected a mapping, found {item['input']!r}."
        case "value_error":
            return f"{context['error']}."
    message = str(item["msg"])
    return f"{message[0].lower()}{message[1:]}, found {item['input']!r}."


def _unknown_key(key: str, allowed: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(key, allowed, n=1, cutoff=0.6)
    hint = f"did you mean `{near[0]}`? " if near else ""
    return f"unknown key; {hint}Allowed here: {', '.join(sorted(allowed))}."


def _nearest_value(item: Any) -> str:
    expected = [word.strip("'\" ") for word in item["ctx"]["expected"].replace(" or ", ",").split(",")]
    near = difflib.get_close_matches(str(item["input"]), expected, n=1)
    return f" Did you mean '{near[0]}'?" if near else ""


def _walk(loc: tuple[int | str, ...]) -> tuple[tuple[str, ...], type[Section] | None]:
    """The key path as the user wrote it (without pydantic's union tags), and the section it is in."""
    path: list[str] = []
    owner: type[Section] | None = None
    current: Any = Configuration
    for part in loc:
        branch = _branch(current, part)
        if branch is not None:
            current = branch
            continue
        path.append(str(part))
        if _is_section(current):
            owner = current
            field = current.model_fields.get(str(part))
            current = _annotation(field) if field else None
        else:
            owner = None
            current = _item(current)
    return tuple(path), owner


def _annotation(field: FieldInfo) -> Any:
    return Annotated[field.annotation, field] if field.discriminator else field.annotation


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _branch(kind: Any, part: int | str) -> Any:
    """The member of a union that pydantic names by a tag (a discriminator's value or a type's name)."""
    members = [member for member in _members(kind) if member is not type(None)]
    for member in members:
        if not _is_section(member):
            continue
        tags = [
            value
            for field in member.model_fields.values()
            if get_origin(field.annotation) is Literal
            for value in get_args(field.annotation)
        ]
        if part in tags or part == member.__name__:
            return member
    if len(members) > 1 and part in SCALARS:
        return str
    return None


def _members(kind: Any) -> tuple[Any, ...]:
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else ()


def _item(kind: Any) -> Any:
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    arguments = get_args(kind)
    return arguments[-1] if arguments and get_origin(kind) in (list, dict, tuple) else None
