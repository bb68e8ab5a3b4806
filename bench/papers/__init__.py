"""Compare with a paper's tables, and repeat its studies (``bench study``)."""
