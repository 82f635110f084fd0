"""Files that must be refused; each says in comments what it expects to hear."""

from __future__ import annotations

import re
from pathlib import Path


def expectation(path: Path) -> re.Pattern[str]:
    """The complaint that the `# expect:` lines of a bad file ask for; ``[...]`` stands for anything."""
    lines = [line.removeprefix("# expect: ") for line in path.read_text().splitlines() if line.startswith("# expect:")]
    assert lines, f"{path} does not say what it expects"
    texts = [f"{path}:{line}" if re.match(r"\d", line) else f"{path}: {line}" for line in lines]
    return re.compile(re.escape("\n".join(texts)).replace(r"\[\.\.\.\]", r"[^\n]+"))
