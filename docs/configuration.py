"""Write configuration.md, the reference of every setting, from config/settings.py.

python docs/configuration.py
"""

from pathlib import Path

from config.loading import allowed, leaf_fields
from config.settings import Settings

HEAD = """# Configuration

*Written by `python docs/configuration.py` from `config/settings.py`; a test fails where the two differ.*

Settings are read in this order, the later over the earlier: the defaults below, `config/config.yaml`, each
`--config FILE` in turn, `key=value` on the command line. A key stands in YAML under its section (`balance:`, then
`  temperature: 0.3`), on the command line with a dot (`balance.temperature=0.3`). Relative paths count from the project's
folder; on the command line, from where you stand. A wrong key or value ends the run with one line that says what is
allowed. Every script explains all of this with `--help`, and writes the settings that it ran with to
`<run>/<stage>/config.yaml`.
"""


def reference() -> str:
    """Return the page: a table for each section of the settings."""
    parts, section = [HEAD], None
    for key, field in leaf_fields(Settings):
        if key.rpartition(".")[0] != section:
            section = key.rpartition(".")[0]
            about = Settings.model_fields[section].annotation.__doc__ if section else "All scripts."
            title = f"`{section}`" if section else "General"
            parts.append(f"\n## {title}\n\n{about}\n\n| key | default | allowed | meaning |\n|---|---|---|---|\n")
        meaning = field.description.replace("<", "&lt;")
        cells = [f"`{key}`", f"`{_shown(field.get_default(call_default_factory=True))}`", allowed(field), meaning]
        parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return "".join(parts)


def _shown(default) -> str:
    match default:
        case None:
            return "null"
        case bool():
            return str(default).lower()
        case list():
            return f"[{', '.join(map(str, default))}]"
    return str(default) or '""'


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(reference(), encoding="utf-8")
