"""Repeat the diagnostic of the MDGD paper."""
