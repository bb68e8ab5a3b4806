"""Check whether a machine is ready for a run, and say how to fix it.

Each part (software, machine, accelerator, model and data, services) has a function ``check`` that collects facts and
yields a diagnosis of each, and pure functions that judge the facts. Slow questions, and questions that may hang, run in
a separate process.
"""
