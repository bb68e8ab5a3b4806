"""The experiments of the LoRASculpt paper, one command each: ``bench study NAME``."""
