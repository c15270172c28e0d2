"""The factors of a table's columns, and rows as inputs of networks."""
