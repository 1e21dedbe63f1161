"""What can go wrong that the user can mend, told apart from our own bugs."""


class InputError(ValueError):
    """Bad input. The message is one sentence: what is wrong and what to do.

    The command line exits with 2.
    """


class DinotrackWarning(UserWarning):
    """Something the user should know that does not stop the run.

    The command line prints it as one line.
    """
