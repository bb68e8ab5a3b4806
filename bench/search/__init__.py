"""Tune every method with the same budget, on the validation splits."""
