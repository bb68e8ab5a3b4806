"""Prepare a run: check the machine, get data, estimate costs, pretrain micro.

No run depends on this room.
"""
