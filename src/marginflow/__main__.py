"""python -m marginflow: the command line."""

from marginflow.cli import main

main()
