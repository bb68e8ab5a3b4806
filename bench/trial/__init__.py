"""Run one trial: train or edit, then score."""
