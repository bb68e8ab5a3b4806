"""What a run costs before it starts: work, memory, time and disk."""
