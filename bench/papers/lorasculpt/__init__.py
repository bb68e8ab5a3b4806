"""The experiments and theorems of the LoRASculpt paper."""
