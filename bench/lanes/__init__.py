"""Run jobs on Ray: lanes pull them from a broker, and machines may die."""
