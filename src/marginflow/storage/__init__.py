"""Files that are whole, locked, and not believed."""
