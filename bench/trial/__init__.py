"""One trial: train or edit, then score."""
