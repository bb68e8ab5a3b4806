"""The command line, one file per command; only this room parses and prints."""
