"""Tune every method with the same budget, on validation."""
