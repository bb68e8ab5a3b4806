"""Turn scores into tables: resample, compare with the baseline, mark ties."""
