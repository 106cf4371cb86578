"""What becomes the site (a hook of mkdocs): the repository's own tree, as far as its pages link to one another.

The README is the front page, and a page keeps its place in the tree, so that every relative link holds on a code host
and in the site alike.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

TARGET = re.compile(r"\]\(([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Put the README and what it leads to in the place of the folder docs/."""
    for file in list(files):
        if file.src_dir == config.docs_dir:
            files.remove(file)
    root = Path(config.config_file_path).parent
    waiting, found = [root / "README.md", *sorted(Path(config.docs_dir).glob("*.md"))], set()
    while waiting:
        path = waiting.pop().resolve()
        if path in found or not path.is_file() or not path.is_relative_to(root):
            continue
        found.add(path)
        if path.suffix == ".md":
            waiting += [path.parent / target for target in TARGET.findall(path.read_text(encoding="utf-8"))]
    for path in sorted({*found, *(root / "docs" / name for name in ("site.css", "iframe-worker.js"))}):
        files.append(File.generated(config, path.relative_to(root).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Python-Markdown takes two notes in a row, `[1] [2]`, for a link."""
    return re.sub(r"(\[\d+\]) (?=\[\d+\])", r"\1&nbsp;", markdown)
