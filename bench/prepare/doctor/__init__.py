"""Check whether a machine is ready for a run, and say how to fix it.

Each part (software, machine, accelerator, material, services) has a frozen dataclass of facts, a function that collects
the facts, and pure functions that judge them. Slow questions, and questions that may hang, run in a separate process.
"""
