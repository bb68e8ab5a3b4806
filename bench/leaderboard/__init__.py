"""Turn scores into tables: resample, compare with the baseline and mark ties."""
