"""What takes too long for every submission: python -m tests.stress.NAME, or all by make stress."""
