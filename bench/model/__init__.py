"""The LLaVA: its files, its adapters, what was learnt, merging, generating."""
