"""The LLaVA family: its files, names, tower and input tokens."""
