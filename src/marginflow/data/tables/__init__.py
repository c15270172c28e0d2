"""A user's own tables: read, split, streamed, written."""
