"""``bench doctor``: what the machine, its software and its services lack, and what to do about it.

A part (software, machine, accelerator, material, services) is a frozen value of facts, a function that looks for them
and pure functions that judge them. What is slow, or may hang, is asked in a process of its own.
"""
