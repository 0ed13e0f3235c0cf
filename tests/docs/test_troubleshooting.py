"""docs/troubleshooting.md quotes errors that the code still says."""

import re

from config.section import ROOT

OF_OTHERS = ("No module named", "No space left on device", "CUDA out of memory")  # Python's, the system's, torch's


def test_it_quotes_what_the_code_says():
    rooms = [path.parent for path in ROOT.glob("[!.]*/__init__.py")]
    files = [ROOT / "Makefile", *(path for room in rooms for path in room.rglob("*.py"))]
    code = "".join(path.read_text("utf-8") for path in files)
    code = re.sub(r"{[^{}\n]*}", "...", re.sub(r'"\s*\n\s*f?"', "", code))
    quoted = re.findall(r"^\| `([^`]+)`", (ROOT / "docs/troubleshooting.md").read_text("utf-8"), re.M)
    assert len(quoted) > 10
    for line in quoted:
        pieces = [piece.strip() for piece in re.split(r"\.\.\.|\bN of M\b", line) if len(piece.strip()) > 1]
        assert line.startswith(OF_OTHERS) or all(piece in code for piece in pieces), f"nothing says: {line}"
