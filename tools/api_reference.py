"""Writes docs/api/, a page for each room: the names that its `__init__` offers, for the docs site to fill in.

    python -m tools.api_reference            writes the pages
    python -m tools.api_reference --check    exit code 1 where a page is not what this would write

What stands behind a name, mkdocstrings takes from the docstrings when the site is built.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.pages import written

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "api"
# Modules beside the rooms that plugins and notebooks use. All that is public in them is shown.
FILES = ("records", "errors", "config", "registry", "sampling")
INTRODUCTION = """# Python API

What each room offers, by the names in its `__init__`. `python -m tools.api_reference` writes these pages, and a test
holds them current; the docs site fills in signatures and docstrings. Everything else may change without notice.

| module | |
|---|---|
"""


def rooms() -> dict[str, tuple[str, list[str]]]:
    """The public rooms: the first line of the docstring, and the names that the room offers, by module."""
    found = {}
    inits = sorted((ROOT / "jprm").glob("*/__init__.py"))
    for init in [ROOT / "jprm" / "__init__.py", *inits]:
        module = ".".join(init.relative_to(ROOT).parent.parts)
        tree = ast.parse(init.read_text(encoding="utf-8"))
        names = sorted(set(_names(tree.body)), key=lambda name: (name.lower(), name))
        # The interface of the one is the commands, that of the other stands under `jprm`.
        if names and module not in ("jprm.cli", "jprm.api"):
            found[module] = (_first_line(tree), names)
    return found


def pages() -> dict[Path, str]:
    """The text of every page, by its path."""
    texts, index = {}, INTRODUCTION
    for module, (about, names) in rooms().items():
        members = "".join(f"        - {name}\n" for name in names)
        texts[PAGES / f"{module.rpartition('.')[2]}.md"] = (
            f"# {module}\n\n::: {module}\n    options:\n      members:\n{members}"
        )
        index += _line(module, about)
    for name in FILES:
        module = f"jprm.{name}"
        texts[PAGES / f"{name}.md"] = f"# {module}\n\n::: {module}\n"
        index += _line(module, _first_line(ast.parse((ROOT / "jprm" / f"{name}.py").read_text(encoding="utf-8"))))
    return texts | {PAGES / "index.md": index}


def main(arguments: list[str]) -> int:
    """Writes the pages, or with `--check` compares them."""
    check, texts = "--check" in arguments, pages()
    PAGES.mkdir(exist_ok=True)
    codes = [written(lambda text=text: text, path, "tools.api_reference", check) for path, text in texts.items()]
    stale = set(PAGES.glob("*.md")) - set(texts)
    for path in stale:
        if check:
            print(f"{path}: of no room; run: python -m tools.api_reference", file=sys.stderr)
        else:
            path.unlink()
    return max(*codes, int(check and bool(stale)))


def _names(body: list[ast.stmt]) -> Iterator[str]:
    """What a room imports from itself or defines, without private names; also under `if TYPE_CHECKING`."""
    for node in body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("jprm"):
            yield from (alias.asname or alias.name for alias in node.names if node.module != "jprm.errors")
        elif isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name
        elif isinstance(node, ast.If):
            yield from _names(node.body)


def _first_line(tree: ast.Module) -> str:
    return (ast.get_docstring(tree) or "").partition("\n")[0]


def _line(module: str, about: str) -> str:
    return f"| [`{module}`]({module.rpartition('.')[2]}.md) | {about} |\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
