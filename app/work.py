"""The making of images: one image at a time, which whoever asked for it can stop between two denoising steps."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import wraps
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

    def stoppable(self, answer: Callable[..., Iterator]) -> Callable[..., AsyncIterator]:
        """Return `answer`, to which Gradio hands a request, as a function that stops its work once Gradio cancels it.

        Gradio cancels for the page's Stop and for a program's cancel(). Of a plain generator it would only end the
        waiting, not the thread.
        """

        @wraps(answer)
        async def stops_when_cancelled(*args, **kwargs) -> AsyncIterator:
            given = answer(*args, **kwargs)
            try:
                while (some := await asyncio.to_thread(next, given, None)) is not None:
                    yield some
            except asyncio.CancelledError:
                self.stop(next(each for each in args if isinstance(each, gr.Request)))
                raise

        return stops_when_cancelled
