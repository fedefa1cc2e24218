"""Errors that a user can mend; everything else is a bug and keeps its traceback."""


class UserError(Exception):
    """A mistake the user can mend: its text is one paragraph saying what is wrong, where, and how to mend it."""


class DamagedArtifactError(UserError):
    """A file of the workflow is missing, truncated or altered; the text names it and how to rebuild it."""
