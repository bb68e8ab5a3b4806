"""All that is specific to LLaVA: files, names, tower and input tokens."""
