"""Pages of the documentation that are written from the code, so that they cannot disagree with it.

`invoke docs` writes them; a test fails when they are out of date.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeGuard, Union, get_args, get_origin

import click
import yaml
from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic.fields import FieldInfo

from enos_crdb import errors, examples
from enos_crdb.config import Configuration
from enos_crdb.config.base import Section
from enos_crdb.config.complaints import PATTERNS
from enos_crdb.sweep import Experiment

NOTICE = "<!-- Written by `invoke docs` from the code; changes made here are lost. -->"
WORDS = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`"}
LIMITS = {Ge: ("ge", "≥"), Gt: ("gt", ">"), Le: ("le", "≤"), Lt: ("lt", "<")}


def schema_text() -> str:
    """The JSON Schema of the deployment file, as it is shipped in ``configuration.schema.json``."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Configuration.model_json_schema()}
    return json.dumps(schema, indent=2) + "\n"


def pages(cli: click.Group) -> dict[str, str]:
    """Every generated page: its path below ``docs/`` and its text."""
    return {
        "reference/configuration.md": configuration_page(),
        "reference/experiment.md": experiment_page(),
        "reference/commands.md": commands_page(cli),
        "reference/exit-codes.md": exit_codes_page(),
    }


def configuration_page() -> str:
    """Every section and key of the deployment file: what is allowed, the default, what it means."""
    parts = [
        "# The deployment file",
        NOTICE,
        "One YAML file says where the hosts come from and what runs on them. Unknown keys are refused.\n"
        'Types are strict: text that YAML reads as a number, or as true or false, needs quotes (`release: "2026.1"`).',
        "The option `--set PATH=VALUE` replaces one value: `--set bench.times=20`, `--set machines.0.count=3`.",
        "`enos_crdb check --env FILE` checks a file and touches nothing. `enos_crdb schema` prints the JSON Schema;\n"
        "an editor uses it to complete and check the file while you type.",
        "Values and defaults are shown as YAML. The default `{}` of a section means the defaults of its keys.",
        *_section("", Configuration, examples.CONFIGURATION),
    ]
    return "\n\n".join(parts) + "\n"


def experiment_page() -> str:
    """Every key of an experiment, which a campaign executes."""
    parts = [
        "# The experiment",
        NOTICE,
        "`enos_crdb campaign` runs an experiment. It is a YAML file, or a Python file with an object\n"
        "`experiment = Experiment(...)` of the same content. [How to run a campaign](../how-to/run-a-campaign.md) has\n"
        "complete examples.",
        "Values and defaults are shown as YAML. The default `{}` of a section means the defaults of its keys.",
        *_section("", Experiment, examples.EXPERIMENT),
    ]
    return "\n\n".join(parts) + "\n"


def exit_codes_page() -> str:
    """The exit status of each kind of error."""
    classes = sorted(
        (kind for kind in vars(errors).values() if _is_error(kind) and "exit_code" in vars(kind)),
        key=lambda kind: kind.exit_code,
    )
    rows = [("0", "", "everything asked for was done")]
    rows += [(str(kind.exit_code), f"`{kind.__name__}`", kind.meaning) for kind in classes]
    parts = [
        "# Exit codes",
        NOTICE,
        "Every command ends with one of these codes. The message on standard error says what failed, what the usual\n"
        "cause is, and what to change.",
        _table(("code", "class in `enos_crdb.errors`", "meaning"), rows),
        "`ssh`, `logs` and `openstack` end with the exit code of the program that they start.",
    ]
    return "\n\n".join(parts) + "\n"


def _is_error(kind: object) -> TypeGuard[type[errors.EnosCrdbError]]:
    return isinstance(kind, type) and issubclass(kind, errors.EnosCrdbError)


def commands_page(cli: click.Group) -> str:
    """The commands with their arguments and options."""
    parts = [
        "# Commands",
        NOTICE,
        "`python -m enos_crdb` is the same as `enos_crdb`. The options in the first table go before the command.\n"
        "Every command has the option `--help`.",
    ]
    for path, command in _commands(cli, ("enos_crdb",)):
        parts += _command(path, command)
    return "\n\n".join(parts) + "\n"


def _commands(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            yield from _commands(command.commands[name], (*path, name))


def _command(path: tuple[str, ...], command: click.Command) -> Iterator[str]:
    """What click's own help shows, whichever version of click is installed."""
    arguments = [_argument(item) for item in command.params if isinstance(item, click.Argument)]
    options = [item for item in command.params if isinstance(item, click.Option)]
    last = "COMMAND" if isinstance(command, click.Group) else ""
    usage = " ".join(filter(None, [*path, "[OPTIONS]" if options else "", *arguments, last]))
    yield f"## `{' '.join(path)}`"
    yield f"    {usage}"
    yield _prose(command.help or "")
    if options:
        yield _table(("option", "default", "meaning"), [_option(item) for item in options])


def _argument(argument: click.Argument) -> str:
    name = (argument.name or "").upper()
    return (name if argument.required else f"[{name}]") + ("..." if argument.nargs == -1 else "")


def _option(option: click.Option) -> tuple[str, str, str]:
    choices = "|".join(map(str, option.type.choices)) if isinstance(option.type, click.Choice) else ""
    value = "" if option.is_flag else " " + (option.metavar or choices or option.type.name.upper())
    default = "*required*" if option.required else f"`{option.default}`" if option.show_default else ""
    return f"`{', '.join(option.opts)}{value}`", default, _prose(option.help or "")


def _section(
    path: str, section: type[Section], texts: Mapping[str, str], tag: tuple[str, str] | None = None
) -> Iterator[str]:
    """The table of a section, its example, and the sections below it; `tag` is that of a member of a union."""
    if path:
        variant = f", {tag[0]} `{tag[1]}`" if tag else ""
        yield f"{'#' * min(path.count('.') + 2, 4)} `{path}`{variant}"
    yield _prose(section.__doc__ or "")
    fields = section.model_fields
    yield _table(("key", "allowed", "default", "meaning"), [_row(name, field) for name, field in fields.items()])
    yield f"```yaml\n{texts[f'{path}({tag[1]})' if tag else path]}```"
    for name, field in fields.items():
        kinds = list(_sections(field.annotation))
        for kind in kinds:
            yield from _section(f"{path}.{name}".lstrip("."), kind, texts, _tag(kind) if len(kinds) > 1 else None)


def _row(name: str, field: FieldInfo) -> tuple[str, str, str, str]:
    meaning = field.description or ""
    if not meaning and (kinds := list(_sections(field.annotation))):
        meaning = (kinds[0].__doc__ or "") if len(kinds) == 1 else "One of the kinds below."
    return f"`{name}`", _allowed(name, field), _default(field), _prose(meaning)


def _allowed(name: str, field: FieldInfo) -> str:
    words = _kind(field.annotation)
    limits = [
        f"{sign} {getattr(item, attribute):g}"
        for item in field.metadata
        for kind, (attribute, sign) in LIMITS.items()
        if isinstance(item, kind)
    ]
    if any(isinstance(item, MinLen) for item in field.metadata):
        limits.append("not empty")
    if name in PATTERNS and any(getattr(item, "pattern", None) for item in field.metadata):
        return PATTERNS[name].removeprefix("must be ")
    return ", ".join([words, *limits])


def _kind(kind: Any) -> str:
    """A type in words."""
    if get_origin(kind) is Annotated:
        return _kind(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return _or([f"`{_yaml(value)}`" for value in get_args(kind)])
    if get_origin(kind) in (Union, types.UnionType):
        members = [member for member in get_args(kind) if member is not type(None)]
        if {*members} >= {int, float}:
            members.remove(int)
        if all(_is_section(member) for member in members):
            return "mapping, see below"
        return _or(list(dict.fromkeys(_kind(member) for member in members)))
    if get_origin(kind) in (list, tuple):
        item = get_args(kind)[0]
        return "list of mappings, see below" if _is_section(item) else f"list of {_kind(item)}"
    if get_origin(kind) is dict:
        return f"mapping of names to {_kind(get_args(kind)[1])}"
    return "mapping, see below" if _is_section(kind) else WORDS.get(kind, "any value")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Section):
        tag = _tag(type(value)) if len(list(_sections(field.annotation))) > 1 else None
        return f"`{{{tag[0]}: {tag[1]}}}`" if tag else "`{}`"
    if isinstance(value, list) and value:
        return "<br>".join(f"`- {_yaml(item)}`" for item in value)
    return f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    """A value as the deployment file has it: ``true``, ``null``, ``[]``, ``text``, ``"2026.1"``."""
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) and yaml.safe_load(value) == value else json.dumps(value)


def _tag(section: type[Section]) -> tuple[str, str] | None:
    """The key and value that tell this member of a union from the others."""
    for name, field in section.model_fields.items():
        if get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1:
            return name, str(get_args(field.annotation)[0])
    return None


def _sections(kind: Any) -> Iterator[type[Section]]:
    """The sections inside a type, in its order."""
    if _is_section(kind):
        yield kind
    for argument in get_args(kind):
        yield from _sections(argument)


def _is_section(kind: Any) -> TypeGuard[type[Section]]:
    return isinstance(kind, type) and issubclass(kind, Section)


def _or(words: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _prose(docstring: str) -> str:
    return " ".join(docstring.split()).replace("``", "`")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
