"""The base model: its family, its files, its adapters, what was learnt, merging, generating."""
