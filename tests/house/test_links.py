"""Every relative link of the documentation leads to a file, and its anchor to a heading there. Needs no network."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
FOLDERS = ("ablation", "docs", "src", "tests")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
MARKDOWN = MarkdownIt("commonmark").enable("table")


def tokens(page: Path) -> list[Token]:
    return MARKDOWN.parse(page.read_text(encoding="utf-8"))


def targets(page: Path) -> Iterator[str]:
    """Addresses of links and pictures."""
    for block in tokens(page):
        for token in block.children or []:
            address = token.attrGet("href") or token.attrGet("src")
            if address:
                yield str(address)


def anchors(page: Path) -> set[str]:
    """Names of the headings, as code hosts and the site make them."""
    headings = [text.content for opening, text in pairwise(tokens(page)) if opening.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    broken = []
    for address in targets(page):
        parts = urlsplit(address)
        if parts.scheme:
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        inside = target.is_relative_to(ROOT) and target.exists()
        if not inside or (parts.fragment and parts.fragment not in anchors(target)):
            broken.append(address)
    assert broken == []


def test_the_pages_are_found() -> None:
    assert len(PAGES) > 20
    assert sum(len(list(targets(page))) for page in PAGES) > 50
