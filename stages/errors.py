"""What is the caller's to mend: the base class of every such error, and that of a wrong array."""


class TwoLookError(Exception):
    """Every error of this package that is the caller's to mend. The command line prints it in one
    line and exits with 2.
    """


class ArrayError(TwoLookError, ValueError):
    """An array or a list that a record cannot hold; the message names the field."""
