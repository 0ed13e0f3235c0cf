"""The traces in tests/golden/, which a change of shape must repeat."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).parent / "golden"


def recorded(name: str, found: Any) -> Any:
    """Return the trace in tests/golden/<name>, which must be there; with WRITE_GOLDEN=1 it is `found`, and is written."""
    path = GOLDEN / name
    if os.environ.get("WRITE_GOLDEN") == "1":
        path.write_text(json.dumps(found, indent=1) + "\n")
    elif not path.is_file():
        pytest.fail(f"no trace {path}; run this test with WRITE_GOLDEN=1 to record one", pytrace=False)
    return json.loads(path.read_text())
