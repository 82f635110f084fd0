"""Pages that are written from the code are up to date, and say everything."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from enos_crdb import errors, examples, reference
from enos_crdb.cli.commands import cli
from enos_crdb.config import Configuration

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "enos_crdb" / "configuration.schema.json"


@pytest.mark.parametrize("name", reference.pages(cli))
def test_a_page_is_what_the_code_says(name: str) -> None:
    page = ROOT / "docs" / name
    assert page.read_text(encoding="utf-8") == reference.pages(cli)[name], "run `invoke docs`"


def meaning(schema: Any) -> Any:
    """A schema without what only some versions of pydantic write, and what says nothing."""
    if isinstance(schema, list):
        return [meaning(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    silent = {"enum"} if "const" in schema else set()
    silent |= {"additionalProperties"} if schema.get("additionalProperties") is True else set()
    return {key: meaning(value) for key, value in schema.items() if key not in silent}


def test_the_shipped_schema_is_what_the_code_says() -> None:
    shipped = json.loads(SCHEMA.read_text(encoding="utf-8"))
    assert meaning(shipped) == meaning(json.loads(reference.schema_text())), "run `invoke docs`"


def test_the_schema_is_closed_and_described() -> None:
    schema = json.loads(reference.schema_text())
    for section in [schema, *schema["$defs"].values()]:
        assert section["additionalProperties"] is False
        assert section["description"]


def keys(schema: dict[str, Any]) -> Iterator[str]:
    for section in [schema, *schema["$defs"].values()]:
        yield from section["properties"]


def test_every_key_stands_in_the_reference_of_the_configuration() -> None:
    page = reference.configuration_page()
    missing = {key for key in keys(Configuration.model_json_schema()) if f"| `{key}` |" not in page}
    assert not missing


@pytest.mark.parametrize(
    ("page", "texts"),
    [
        pytest.param(reference.configuration_page(), examples.CONFIGURATION, id="configuration"),
        pytest.param(reference.experiment_page(), examples.EXPERIMENT, id="experiment"),
    ],
)
def test_every_section_has_an_example(page: str, texts: Mapping[str, str]) -> None:
    tables = page.count("| key | allowed | default | meaning |")
    assert tables == page.count("```yaml") == len(texts)


def test_values_are_shown_as_yaml() -> None:
    page = reference.configuration_page()
    for row in (
        "| `jump` | `auto`, `true` or `false` | `auto` |",
        "| `project` | text | `null` |",
        "| `servers` | list of text | `[]` |",
        "| `nspawn` | mapping, see below | `{}` |",
        '| `release` | `"2025.2"`, `"2026.1"` or `"2026.2"` | `"2026.1"` |',
        "| `runner` | mapping, see below | `{type: constant}` |",
        "| `warm_up_s` | number, ≥ 0 | `0` |",
    ):
        assert row in page


def test_every_exit_code_stands_in_its_reference() -> None:
    page = reference.exit_codes_page()
    for kind in (errors.ConfigurationError, errors.BenchError, errors.Interrupted):
        assert f"| {kind.exit_code} | `{kind.__name__}` | {kind.meaning} |" in page


def test_every_command_stands_in_its_reference() -> None:
    page = reference.commands_page(cli)
    for name in cli.commands:
        assert f"## `enos_crdb {name}`" in page


def test_tables_are_not_broken_by_their_content() -> None:
    for text in reference.pages(cli).values():
        rows = [line.replace("\\|", "") for line in text.splitlines() if line.startswith("|")]
        assert {row.count("|") for row in rows} <= {4, 5}
