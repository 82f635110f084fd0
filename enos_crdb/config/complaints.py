"""What pydantic found wrong, said so that the writer of the file can mend it."""

from __future__ import annotations

import difflib
import re
import textwrap
import types
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from enos_crdb.config.base import Section
from enos_crdb.config.document import Configuration

SCALARS = frozenset({"str", "int", "float", "bool"})
"""How pydantic names the members of a union of plain values."""


PATTERNS = {
    "name": "must be lower case letters, digits and hyphens (at most 48, no hyphen first)",
    "experiment": "must be lower case letters, digits and hyphens (at most 38, no hyphen first)",
    "orcid": "must be four groups of four digits, like 0000-0002-1825-0097",
    "metric": "must be mean, or a percentile such as p50 or p99.9",
}
"""What the regular expression of a key means."""

EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a number that is finite",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
"""What pydantic's type errors ask for, in YAML's words."""

BOUNDS = {
    "greater_than": ("gt", "must be above"),
    "greater_than_equal": ("ge", "must be at least"),
    "less_than": ("lt", "must be below"),
    "less_than_equal": ("le", "must be at most"),
}


def complain(
    error: ValidationError, *, source: str, places: Mapping[str, str], root: type[Section] = Configuration
) -> str:
    """One paragraph per problem: file and line, key path, what is wrong, what is allowed.

    ``root`` is the section that was validated.
    """
    return "\n".join(f"{place}: {said}" for place, said in problems(error, source=source, places=places, root=root))


def problems(
    error: ValidationError, *, source: str, places: Mapping[str, str], root: type[Section] = Configuration
) -> tuple[tuple[str, str], ...]:
    """The same in two parts: where it was written, and the key path with what is wrong there."""
    found = [_problem(item, source, places, root) for item in error.errors(include_url=False)]
    return tuple(dict.fromkeys(found))  # a union may say the same thing once per branch


def _problem(item: Any, source: str, places: Mapping[str, str], root: type[Section]) -> tuple[str, str]:
    path, owner = _walk(item["loc"], root)
    if item["type"] == "union_tag_invalid":
        path = (*path, item["ctx"]["discriminator"].strip("'"))
    said = _say(item, path, owner)
    if not path:  # a rule about several sections begins its message with the key to change
        rule = re.match(r"([a-z0-9_.]+): (.*)", said, flags=re.DOTALL)
        path, said = (tuple(rule[1].split(".")), rule[2]) if rule else (path, said)
    place = next((places[key] for key in _prefixes(path) if key in places), source)
    where = ".".join(path)
    return place, f"{where + ': ' if where else ''}{said}"


def _prefixes(path: tuple[str, ...]) -> Iterable[str]:
    return (".".join(path[:length]) for length in range(len(path), 0, -1))


def _say(item: Any, path: tuple[str, ...], owner: type[Section] | None) -> str:
    context, kind, value = item.get("ctx", {}), item["type"], item["input"]
    if item["loc"] and item["loc"][-1] in SCALARS:
        return f"expected a single value (text, number, true or false), found {_found(value)}."
    if kind in EXPECTED:
        return f"expected {EXPECTED[kind]}, found {_found(value)}.{_remedy(kind, value, owner, path)}"
    if kind in BOUNDS:
        bound, words = BOUNDS[kind]
        return f"{words} {context[bound]:g}, found {_found(value)}."
    match kind:
        case "extra_forbidden" if owner:
            return _unknown_key(path[-1], owner.model_fields)
        case "invalid_key":
            return f"keys are text, found {_found(value)}; put it in quotes."
        case "missing":
            return "is missing; it has no default."
        case "literal_error":
            return f"{_found(value)} is not allowed; it must be {context['expected']}.{_nearest_value(value, context)}"
        case "union_tag_invalid":
            return _unknown_tag(context)
        case "union_tag_not_found":
            tag = str(context["discriminator"]).strip("'")
            return f"the key `{tag}` is missing; it decides which other keys there are."
        case "string_pattern_mismatch" if path[-1] in PATTERNS:
            return f"{PATTERNS[path[-1]]}, found {_found(value)}."
        case "too_short" | "too_long":
            return f"is {kind.replace('_', ' ')}: it {_length(context)}, found {context['actual_length']}."
        case "value_error":
            return f"{context['error']}."
    message = str(item["msg"])
    return f"{message[0].lower()}{message[1:]}, found {_found(value)}."


def _length(context: Mapping[str, Any]) -> str:
    if "min_length" in context:
        return f"needs at least {context['min_length']}"
    return f"takes at most {context['max_length']}"


def _found(value: Any) -> str:
    """`value` as YAML writes it, short."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping | list):
        return "a mapping" if isinstance(value, Mapping) else "a list"
    return textwrap.shorten(repr(value) if isinstance(value, str | int | float) else repr(str(value)), 80)


def _remedy(kind: str, value: Any, owner: type[Section] | None, path: tuple[str, ...]) -> str:
    if value is None:
        field = owner.model_fields.get(path[-1]) if owner else None
        if field is None or field.is_required():
            return ""
        return " Leave the key out to have the default."
    if kind == "string_type" and not isinstance(value, Mapping | list):
        return " Put it in quotes."
    if kind != "string_type" and isinstance(value, str) and re.fullmatch(r"-?[0-9.]+|true|false", value):
        return " Write it without quotes."
    return ""


def _unknown_key(key: str, allowed: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(key, allowed, n=1, cutoff=0.6)
    hint = f" Did you mean `{near[0]}`?" if near else ""
    return f"unknown key.{hint} Allowed here: {', '.join(sorted(allowed))}."


def _unknown_tag(context: Mapping[str, Any]) -> str:
    hint = _nearest_value(context["tag"], {"expected": context["expected_tags"]})
    return f"{context['tag']!r} is not known; it must be one of {context['expected_tags']}.{hint}"


def _nearest_value(value: Any, context: Mapping[str, Any]) -> str:
    expected = [word.strip("'\" ") for word in context["expected"].replace(" or ", ",").split(",")]
    if isinstance(value, bool):
        return " YAML reads yes, no, on and off without quotes as true and false."
    if not isinstance(value, str) and str(value) in expected:
        return " Put it in quotes: YAML reads it as a number."
    near = difflib.get_close_matches(str(value), expected, n=1)
    return f" Did you mean '{near[0]}'?" if near else ""


def _walk(loc: tuple[int | str, ...], root: type[Section]) -> tuple[tuple[str, ...], type[Section] | None]:
    """The key path as the user wrote it (without pydantic's union tags), and the section it is in."""
    path: list[str] = []
    owner: type[Section] | None = None
    current: Any = root
    for part in loc:
        if part == "[key]":  # pydantic's mark for a key that is wrong, not its value
            continue
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
