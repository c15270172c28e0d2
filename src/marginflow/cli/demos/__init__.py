"""What the demo shows, one subject a file."""
