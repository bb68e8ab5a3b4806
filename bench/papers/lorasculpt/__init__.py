"""Repeat the experiments and check the theorems of the LoRASculpt paper."""
