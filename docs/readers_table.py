"""Write the table of what every reader keeps, made from its test, into docs/reference/files.md."""

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/reference/files.md"
TABLE = re.compile(r"^\| rule \|.*\n(\|.*\n)+", re.MULTILINE)


def main() -> None:
    """Replace the table in the page."""
    table = runpy.run_path(str(ROOT / "tests/data/readers/test_careful.py"))["table"]()
    text, count = TABLE.subn(lambda _: f"{table}\n", PAGE.read_text(encoding="utf-8"))
    if count != 1:
        raise SystemExit(f"{PAGE}: holds {count} tables that begin with rule; expected one")
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
