#!/usr/bin/env python3
"""Checks the language of sources and docs (docs/glossary.md).

1. No doc line starts with a headless relative clause ("Who ...", "Whoever ...", "What ... is ...", "So long ...").
2. No identifier contains a word that the glossary's last column has in `code`.

Prints every finding as file:line and exits with 1 if there is one. `--selftest` checks the checks.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GLOSSARY = ROOT / "docs" / "glossary.md"
# Names that other people chose.
ALLOWED = {"floor_char_boundary", "floor", "Utc", "div_floor", "f64::floor"}
HEADLESS = re.compile(
    r"(Who|Whoever|Whatever|Nobody|Somebody|So (long|much|many)|Of (which|what|whom))\b"
    r"|What\b[^.?]*\b(is|are|was|were)\b(?![^.]*\?)"
)
COMMENT = {".rs": re.compile(r"^\s*//[/!]?\s*(.*)"), ".py": re.compile(r"^\s*#\s*(.*)"), ".js": re.compile(r"^\s*(?://|\*)\s*(.*)")}
STRINGS = re.compile(r'r#".*?"#|"(?:[^"\\]|\\.)*"|//.*')


def banned() -> set[str]:
    words: set[str] = set()
    for line in GLOSSARY.read_text().splitlines():
        cells = line.split("|")
        if len(cells) == 5:
            words.update(re.findall(r"`([a-z]+)`", cells[3]))
    return words


def words_of(identifier: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", identifier)]


def check(path: str, text: str, bad: set[str]) -> list[str]:
    """What is wrong with one file."""
    suffix, found = Path(path).suffix, []
    fresh, fenced = True, False
    for number, line in enumerate(text.splitlines(), 1):
        if suffix == ".md":
            if line.lstrip().startswith("```"):
                fenced = not fenced
            prose = None if fenced else re.sub(r"^\s*(?:[-*>]|\d+\.)\s+", "", line)
            starts = fresh or (prose is not None and prose != line)
        else:
            comment = COMMENT.get(suffix, COMMENT[".py"]).match(line)
            prose = comment[1] if comment else None
            starts = fresh
        if prose and starts and HEADLESS.match(prose):
            found.append(f"{path}:{number}: starts without an actor: {prose.strip()[:70]}")
        # A sentence begins after a blank line, a full stop, or code.
        fresh = prose is None or not prose.strip() or prose.rstrip().endswith((".", ":", "?", "!"))
        if suffix == ".rs":
            for identifier in re.findall(r"[A-Za-z_][A-Za-z0-9_]*", STRINGS.sub("", line)):
                if identifier not in ALLOWED and (wrong := bad.intersection(words_of(identifier))):
                    found.append(f"{path}:{number}: `{identifier}`: the glossary has another word for `{wrong.pop()}`")
    return found


def selftest() -> None:
    bad = {"ears", "floor"}
    for path, text, count in [
        ("a.rs", "/// Who lost a race reads again.\n", 1),
        ("a.rs", "/// The writer that lost\n/// What it is\n", 0),
        ("a.rs", "//! So long the caller waits.\n", 1),
        ("a.rs", "// What of an event leaves is small.\n", 1),
        ("a.rs", "let x = two_ears(FloorPlan, 1.5_f64.floor());\n", 2),
        ("a.rs", 'print("ears"); // ears\n', 0),
        ("a.md", "# Title\n\nWhat is it?\n\n- Nobody knows\n", 1),
        ("a.md", "```\nWho am I\n```\n", 0),
    ]:
        found = check(path, text, bad)
        assert len(found) == count, (text, found)
    assert {"ears", "floor", "genuine"} <= banned(), banned()


def main() -> int:
    selftest()
    if "--selftest" in sys.argv:
        return 0
    names = subprocess.run(
        ["git", "ls-files", "*.rs", "*.py", "*.js", "*.md", "*.yaml", "*.toml"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    bad = banned()
    found = [line for name in names if (ROOT / name).exists() for line in check(name, (ROOT / name).read_text(), bad)]
    print("\n".join(found) if found else f"{len(names)} files speak the glossary's language")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
