"""The run folder: every file in it, on a disk or at a URL."""
