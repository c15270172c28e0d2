"""The command line."""

from marginflow.cli.app import app, main

__all__ = ["app", "main"]
