"""The built-in tasks, one file each, and the metrics that they share."""

if __name__ != "bench.tasks":
    raise ImportError("Import this folder as 'bench.tasks' (pip install -e .), not as 'tasks'.")
