"""Whether a model can be believed: its map, its density, its samples."""
