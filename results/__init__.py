"""The report formats, one file each, and the published tables."""

if __name__ != "bench.results":
    raise ImportError("Import this folder as 'bench.results' (pip install -e .), not as 'results'.")
