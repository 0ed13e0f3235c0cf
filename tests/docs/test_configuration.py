"""docs/configuration.md says what config/settings.py says."""

import runpy

from config.section import ROOT


def test_the_reference_is_up_to_date():
    reference = runpy.run_path(str(ROOT / "docs/configuration.py"))["reference"]
    written = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    assert written == reference(), "run: python docs/configuration.py"
