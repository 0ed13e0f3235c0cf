"""The one error that the user can do something about."""


class UserError(Exception):
    """Something that the user can fix; its text is one line that says what is wrong, where, and what to do."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its kind where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
