"""Tasks' material, the files that their examples are read from: fetched, checked and described by ``bench data``."""
