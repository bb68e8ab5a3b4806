"""What comes before a run, and what no run depends on: doctor, data, prices, pretraining."""
