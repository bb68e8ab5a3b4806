"""The command line: one file a verb; the only room that parses words and prints."""
