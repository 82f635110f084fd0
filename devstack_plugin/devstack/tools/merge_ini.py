"""Merge the options of one INI file into another; the first is changed, the second wins.

    merge_ini.py TARGET SOURCE

DevStack's own function for one option passes the value through a command line and through `echo`: no place for a
password, nor for blanks.
"""

from __future__ import annotations

import configparser
import sys


def main(target: str, source: str) -> None:
    merged, ours = _parser(), _parser()
    for parser, path in ((merged, target), (ours, source)):
        with open(path, encoding="utf-8") as stream:
            parser.read_file(stream)
    for section in ours.sections():
        if not merged.has_section(section):
            merged.add_section(section)
        for option, value in ours.items(section):
            merged.set(section, option, value)
    with open(target, "w", encoding="utf-8") as stream:
        merged.write(stream)


def _parser() -> configparser.ConfigParser:
    # DEFAULT is a section like any other in OpenStack's files, and the case of options matters to uWSGI.
    parser = configparser.ConfigParser(
        interpolation=None, strict=False, delimiters=("=",), allow_no_value=True, default_section="-"
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    return parser


if __name__ == "__main__":
    main(*sys.argv[1:])
