"""One line a file, from the first sentence of its docstring: for infra/docs/architecture.md and tests/README.md.

`make docs` writes both lists again; a test finds files that they lack.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "infra" / "docs" / "architecture.md"
PACKAGES = ("dsdit", "catalogs", "flows")
START, END = "<!-- module map -->", "<!-- end of the module map -->"


def files() -> list[Path]:
    """Every Python file of the three packages that is no `__init__`, folder by folder."""
    found = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if path.name != "__init__.py"]
    return sorted(found, key=lambda path: (PACKAGES.index(path.relative_to(ROOT).parts[0]), path.parent, path.name))


def first_sentence(path: Path) -> str:
    """Of the module's docstring, on one line; empty where there is none."""
    text = " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0].split())
    return re.split(r"(?<=[.])\s+(?=[A-Z`])", text)[0]


def module_map() -> str:
    """Markdown: a heading and a table for each folder."""
    lines: list[str] = []
    folder = None
    for path in files():
        if path.parent != folder:
            folder = path.parent
            name = folder.relative_to(ROOT).as_posix()
            init = folder / "__init__.py"
            about = first_sentence(init) if init.exists() else ""
            lines += ["", f"### `{name}/`", "", about, "", "| file | what it holds |", "| --- | --- |"]
        text = first_sentence(path).replace("|", "\\|")
        lines.append(f"| `{path.relative_to(ROOT).as_posix()}` | {text} |")
    return "\n".join([*lines, ""])


def support_modules() -> str:
    """Markdown: a table of tests/support."""
    lines = ["", "| module | what it has |", "| --- | --- |"]
    paths = sorted(path for path in (ROOT / "tests" / "support").glob("*.py") if path.name != "__init__.py")
    return "\n".join([*lines, *(f"| `{path.stem}` | {first_sentence(path)} |" for path in paths), ""])


def main() -> None:
    """Replaces both lists."""
    for page, text in ((PAGE, module_map()), (ROOT / "tests" / "README.md", support_modules())):
        head, _, rest = page.read_text().partition(START)
        tail = rest.partition(END)[2]
        page.write_text(f"{head}{START}\n{text}\n{END}{tail}")


if __name__ == "__main__":
    main()
