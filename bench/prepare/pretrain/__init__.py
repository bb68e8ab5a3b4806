"""Build the embedded base model from scratch."""
