"""The one error that the user can do something about."""

from collections.abc import Callable


class UserError(Exception):
    """Something that the user can fix; its text is one line that says what is wrong, where, and what to do."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its kind where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def tell_together(*checks: Callable[[], object]) -> None:
    """Call all checks. Raise one UserError with a line for everything that they refuse, so that nobody mends it in turns."""
    lines: list[str] = []
    for check in checks:
        try:
            check()
        except UserError as error:
            lines += str(error).splitlines()
    if lines:
        raise UserError("\n".join(dict.fromkeys(lines)))
