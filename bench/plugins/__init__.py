"""What a method, a task and a paper are, and how they are found."""
