"""Writes the Python examples of README.md and docs/ as modules, for type checkers.

python -m tests.packaging.docs_code FOLDER
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Those with a word after `python` are expressions, such as those of docs/query.md.
_BLOCK = re.compile(r"^```python(?P<expression> [^\n]+)?\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)

# pandas and pyarrow have no complete types; these rules report nothing else in an example that makes a frame.
_FRAMES = re.compile(r"\.to_(pandas|arrow|polars)\(")
_OF_FRAMES = "  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]"


def modules() -> dict[str, str]:
    """The modules by their names: a page is one, whose examples continue each other; those of README.md stand alone."""
    made = {}
    readme = (ROOT / "README.md").read_text()
    for number, block in enumerate(_BLOCK.finditer(readme), 1):
        made[f"readme_{number}"] = _module(readme, [block])
    for page in sorted((ROOT / "docs").glob("*.md")):
        text = page.read_text()
        if blocks := list(_BLOCK.finditer(text)):
            made[page.stem.replace("-", "_")] = _module(text, blocks)
    return made


def _module(page: str, blocks: Iterable[re.Match[str]]) -> str:
    """Examples, each at the line where it stands in the page."""
    lines: list[str] = []
    for block in blocks:
        code = block["code"].splitlines()
        if block["expression"]:
            lines = lines or ["from plaudit import field; _: object"]
            code[0] = f"_ = ({code[0]}"
            code[-1] += ")"
        elif _FRAMES.search(block["code"]):
            code = [line + _OF_FRAMES for line in code]
        lines += [""] * (page.count("\n", 0, block.start("code")) - len(lines)) + code
    return "\n".join([*lines, ""])


def main(folder: Path) -> None:
    """Write the modules, and remove those of before."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.py"):
        old.unlink()
    for name, code in modules().items():
        (folder / f"{name}.py").write_text(code)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
