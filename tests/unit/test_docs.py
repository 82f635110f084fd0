"""The documentation agrees with the project: links lead somewhere, commands exist, YAML is accepted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from enos_crdb import config
from enos_crdb.cli.commands import cli
from enos_crdb.sweep import Experiment
from tests.pages import TUTORIAL, examples, shown

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
TWO_COMMANDS = """\
    python3 -m venv .venv && .venv/bin/pip install -e . && .venv/bin/enos_crdb run --env configs/local.yaml
    .venv/bin/pip install -e '.[test]' && .venv/bin/invoke test
"""


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_two_commands_come_first() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first = re.search(r"^    .*\n(?:    .*\n)*", text, flags=re.MULTILINE)
    assert first is not None
    assert first[0] == TWO_COMMANDS


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=name)
def test_every_page_can_be_reached_from_the_index(page: Path) -> None:
    index = ROOT / "docs" / "index.md"
    links = re.findall(r"\]\(([^)#]+)\)", index.read_text(encoding="utf-8"))
    assert page == index or str(page.relative_to(ROOT / "docs")) in links


def commands() -> list[Any]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        code = re.findall(r"^(?:    |\$ )(.*)$", text, flags=re.MULTILINE) + re.findall(r"`([^`\n]+)`", text)
        for line in code:
            for words in re.findall(r"(?:^|[ /])enos_crdb ([a-z][^;>|&#]*)", line):
                found.append(pytest.param(words.split(), id=f"{name(page)}: enos_crdb {words.strip()}"))
    return found


@pytest.mark.parametrize("words", commands())
def test_a_command_that_is_named_exists(words: list[str]) -> None:
    command: click.Command = cli
    ours = words[: words.index("--")] if "--" in words else words
    for word in ours:
        if not isinstance(command, click.Group) or word == "COMMAND":
            break
        assert word in command.commands
        command = command.commands[word]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word.split("=")[0] for word in ours if word.startswith("--")} <= {*options, "--help"}


EXPERIMENT = ROOT / "docs" / "reference" / "experiment.md"
"""The page whose fragments are of an experiment, not of a deployment file."""


def fragments(pages: list[Path]) -> list[Any]:
    return [
        pytest.param(block, id=f"{name(page)}-{number}")
        for page in pages
        for number, block in enumerate(re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE))
    ]


@pytest.mark.parametrize("fragment", fragments([page for page in PAGES if page != EXPERIMENT]))
def test_a_fragment_of_an_experiment_file_is_accepted(fragment: str) -> None:
    small = {
        "name": "small",
        "provider": "nspawn",
        "machines": [{"roles": ["database", "keystone", "rally"]}],
        "database": {"backend": "postgresql"},
    }
    given = yaml.safe_load(fragment)
    document = {**small, **given}
    if "machines" in given and "database" not in given:
        document["database"] = {"backend": "galera"}
    config.check(document, source="documentation")


@pytest.mark.parametrize("fragment", fragments([EXPERIMENT]))
def test_a_fragment_of_an_experiment_is_accepted(fragment: str) -> None:
    Experiment.model_validate({"experiment": "small", "configuration": "local.yaml", **yaml.safe_load(fragment)})


def test_the_commands_of_the_tutorial_are_found() -> None:
    found = list(examples(TUTORIAL.read_text(encoding="utf-8")))
    assert [example.command.split()[:2] for example in found][:2] == [["enos_crdb", "configs"]] * 2
    assert found[-1].command == "enos_crdb report"
    assert any(example.output == ("active", "active") for example in found)


@pytest.mark.parametrize(
    ("line", "output", "matches"),
    [
        pytest.param("exit code 2", "a\nexit code 2\n", True, id="literal"),
        pytest.param("...local.yaml", "/somewhere/local.yaml\n", True, id="dots-first"),
        pytest.param("a ... b", "a | 3 | b", True, id="dots-inside"),
        pytest.param("a ... b", "a\nb", False, id="dots-stay-on-their-line"),
        pytest.param("(x.", "(xy", False, id="no-expressions"),
    ],
)
def test_expected_output_is_compared(line: str, output: str, matches: bool) -> None:
    assert (shown(line, output, 0) >= 0) is matches
