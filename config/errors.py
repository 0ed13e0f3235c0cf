"""The one error that the user can do something about."""


class UserError(Exception):
    """Something that the user can fix; its text is one line that says what is wrong, where, and what to do."""
