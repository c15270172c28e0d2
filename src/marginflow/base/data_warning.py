"""The warnings that the command line shows as a line each, before torch is loaded."""


class DataWarning(UserWarning):
    """Something odd about data that may still be meant."""


class TrainingWarning(RuntimeWarning):
    """A training that will go wrong, or has."""
