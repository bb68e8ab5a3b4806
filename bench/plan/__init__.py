"""Plan the jobs that a command asks for, and find which of them are done."""
