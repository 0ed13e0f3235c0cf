"""The settings of the page in a browser: a section of `Settings` in settings.py."""

from pydantic import Field

from config.section import Section


class App(Section):
    """The page in a browser that app/main.py serves."""

    address: str = Field("127.0.0.1", pattern=r"^[\w.:-]+$")
    """Address that the page is served at. 127.0.0.1 is this machine alone. Any other needs a password (docs/app.md)."""
    port: int | None = Field(None, ge=1, le=65535)
    """Port that the page is served at. null takes the first free one from 7860."""
