"""The plain values that pass through the pipeline: frozen, with ids, convertible to and from JSON."""
