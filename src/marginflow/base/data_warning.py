"""The warning of odd data, which the command line shows before torch is loaded."""


class DataWarning(UserWarning):
    """Something odd about data that may still be meant."""
