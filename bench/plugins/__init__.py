"""Define what a method, a task and a paper are, and find the installed ones."""
