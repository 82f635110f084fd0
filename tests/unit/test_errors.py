"""One class, one exit code, one meaning."""

from __future__ import annotations

import pytest

from enos_crdb import errors

CLASSES = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.EnosCrdbError)]


def test_every_exit_code_is_used_by_one_class() -> None:
    codes = [kind.exit_code for kind in CLASSES if "exit_code" in vars(kind)]
    assert sorted(codes) == sorted(set(codes))
    assert 0 not in codes


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_exit_code_comes_with_a_meaning(kind: type[errors.EnosCrdbError]) -> None:
    assert ("exit_code" in vars(kind)) == ("meaning" in vars(kind))
    assert kind.__doc__


def test_a_command_error_shows_the_command_the_status_and_the_end_of_what_it_said() -> None:
    stderr = "\n".join(f"line {number}" for number in range(20))
    error = errors.CommandError(["apt-get", "update"], 100, "unused", stderr)
    assert str(error).startswith("`apt-get update` ended with status 100.\nline 8\n")
    assert str(error).endswith("line 19")


def test_a_command_error_falls_back_on_standard_output() -> None:
    assert str(errors.CommandError(["x"], 1, "said here\n", "")) == "`x` ended with status 1.\nsaid here"


def test_a_silent_command_error_is_one_line() -> None:
    assert str(errors.CommandError(["x"], 1, "", "")) == "`x` ended with status 1."
