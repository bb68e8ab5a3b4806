"""Estimate what a run will cost: work, memory, time and disk."""
