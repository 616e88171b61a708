"""The one exception for what a user can put right."""


class InputError(ValueError):
    """Bad input: one sentence that names the file or argument, what is wrong and what would be right.

    The command line prints the sentence and exits with 2; nothing half-written may be left behind.
    """
