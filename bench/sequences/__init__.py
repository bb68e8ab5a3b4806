"""Turn the scores of a sequence of tasks into tables: the metrics, the matrix, several orders."""
