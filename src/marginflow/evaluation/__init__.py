"""What a trained density is worth: its accounting, its samples, whether it can be believed."""
