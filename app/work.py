"""The making of images: one image at a time, which the person who asked for it can stop between two denoising steps."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import gradio as gr


class Stopped(Exception):
    """The work was stopped by the person for whom it was done."""


class Work:
    """What the generator does for one person at a time."""

    def __init__(self):
        self._one_at_a_time, self._session, self._stopped = Lock(), None, False

    @contextmanager
    def of(self, request: gr.Request | None) -> Iterator[None]:
        """Work for the person of a request, once what was stopped before has ended. None: for nobody who could stop it.

        Gradio forgets a stopped request at once, but its thread lives until `check` ends it: two would mix their images up.
        """
        with self._one_at_a_time:
            self._session, self._stopped = request and request.session_hash, False
            try:
                yield
            finally:
                self._session = None

    def stop(self, request: gr.Request) -> None:
        """Stop what is made for the person of this request, and nothing of others."""
        self._stopped |= request.session_hash == self._session

    def check(self) -> None:
        """Raise Stopped where the work was stopped."""
        if self._stopped:
            raise Stopped("This was stopped.")
