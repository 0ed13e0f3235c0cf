"""Write configuration.md, the reference of every setting, from config/settings.py.

python docs/configuration.py
"""

from pathlib import Path

from config.loading import leaf_fields
from config.settings import Settings
from config.text import allowed
from runtime.script import take_no_arguments

HEAD = """# Configuration

*`python docs/configuration.py` writes this page from `config/settings.py`. A test fails where the two differ.*

You set a key in four places, and a later place wins: the defaults below, `config/config.yaml`, each `--config FILE` in turn,
and `key=value` on the command line. In YAML a key stands under its section (`balance:`, then `  temperature: 0.3`). On the
command line you write it with a dot (`balance.temperature=0.3`). Relative paths count from the project's folder, and on the
command line from where you stand. A wrong key or value ends the run with one line that says what is allowed.

On the command line a text is taken as you type it, with every `#` and `:` in it. An empty value empties a text or a list.
Numbers are decimal. You write a list as `a, b` or `[a, b]`, and blanks around its items fall away. You write mappings as in
YAML.

`--help` explains the keys that a script reads, and `--help all` explains every key. Each script writes the settings that it
ran with to `<run>/<stage>/config.yaml`. Keys that had another name in an earlier version still work under that name
(`RENAMED` in `config/loading.py` lists them).
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
    take_no_arguments(__doc__)
    Path(__file__).with_suffix(".md").write_text(reference(), encoding="utf-8")
