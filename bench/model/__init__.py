"""Load a base model, insert adapters, merge changes and generate answers."""
