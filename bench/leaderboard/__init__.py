"""Scores to tables: resample, compare, mark ties."""
