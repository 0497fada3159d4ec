"""The deployment guide, block by block: what its readers type and save.

A block says by its language what it is. Blocks of files name the file in their first line, as a comment: readers see
where it goes, and so do we.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"

# What can be done with a block: run, saved (and then read by the program it is for), or compiled where it is included
# from. There is no kind that is only looked at.
SHELL = {"sh"}
FILES = {"apache", "bash", "ini", "lighttpd", "nginx", "systemd", "vcl", "yaml"}
INCLUDED = {"rust"}
KINDS = SHELL | FILES | INCLUDED

_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>```+)(?P<kind>[^\n`]*)\n(?P<text>.*?)^(?P=indent)(?P=ticks) *$", re.M | re.S)
_NAME = re.compile(r"^\s*(?:#|;|//)\s*(?P<path>/\S+)\s*$")


@dataclass(frozen=True)
class Block:
    chapter: str
    section: str
    line: int
    kind: str
    text: str

    @property
    def path(self):
        """The file that the block is to be saved as. A script has it below its `#!`."""
        lines = self.text.splitlines()
        name = _NAME.match(lines[1] if lines[0].startswith("#!") else lines[0])
        assert name, f"{self}: the first line does not name the file"
        return name["path"]

    def __str__(self):
        return f"docs/deployment/{self.chapter}.md:{self.line}"


def chapters():
    return sorted(path.stem for path in (DOCS / "deployment").glob("*.md"))


def blocks(chapter, section=None):
    """The blocks of a chapter in order; of one section (a heading of the second level) if it is named."""
    text = (DOCS / "deployment" / f"{chapter}.md").read_text()
    found = []
    for fence in _FENCE.finditer(text):
        before = text[: fence.start()]
        headings = re.findall(r"^## (.*?)\s*$", _FENCE.sub("", before), re.M)
        indent = len(fence["indent"])
        lines = "".join(line[indent:] for line in fence["text"].splitlines(keepends=True))
        block = Block(chapter, headings[-1] if headings else "", before.count("\n") + 1, fence["kind"].strip(), lines)
        found.append(block)
    # A fence that the pattern does not see (not closed, say) would be a block that nobody runs.
    ticks = len(re.findall(r"^ *```", text, re.M))
    assert ticks == 2 * len(found), f"docs/deployment/{chapter}.md: {ticks} fences make {len(found)} blocks"
    if section is None:
        return found
    chosen = [block for block in found if block.section == section]
    assert chosen, f"docs/deployment/{chapter}.md has no section {section!r} with blocks"
    return chosen


def included(block):
    """The example that a block of Rust shows: a package of the workspace, which CI compiles and tests."""
    include = re.fullmatch(r"\{\{#include (\S+)\}\}\n", block.text)
    assert include, f"{block}: a block of Rust must be included from an example"
    path = (DOCS / "deployment" / include[1]).resolve()
    assert path.is_file() and path.parents[2] == ROOT / "examples", f"{block}: {path} is no example"
    package = path.parents[1]
    assert (package / "Cargo.toml").is_file(), f"{block}: {package} is no package"
    return path
