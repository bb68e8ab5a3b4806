"""What only LLaVA has: its files, its names, its tower, and how a prompt and a picture become its tokens."""
