"""What a command asks for, and what of it is done already."""
