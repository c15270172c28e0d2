"""What a person sees: figures, tables in the terminal, one page."""
