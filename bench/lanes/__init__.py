"""Ray: lanes pull trials from a broker; machines may die."""
