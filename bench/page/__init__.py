"""The report page: one static folder that a browser opens without a server."""
