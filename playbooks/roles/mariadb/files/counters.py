#!/usr/bin/python3
"""Prints the numeric rows of SHOW GLOBAL STATUS by the server's own names, one JSON object."""

import json
import re
import subprocess

NUMBER = re.compile(r"-?\d+(\.\d+)?")


def counters(shown: str) -> "dict[str, float]":
    """From what the client printed: a name, a tab and a value per line."""
    rows = (line.partition("\t") for line in shown.splitlines())
    return {
        name: float(value) if "." in value else int(value)
        for name, _, value in rows
        if name and NUMBER.fullmatch(value)
    }


if __name__ == "__main__":
    command = ["mariadb", "--batch", "--skip-column-names", "--execute=SHOW GLOBAL STATUS"]
    print(json.dumps(counters(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)))
