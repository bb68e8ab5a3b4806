"""Compare a leaderboard with a paper's tables, and repeat the paper's studies (``bench study``)."""
