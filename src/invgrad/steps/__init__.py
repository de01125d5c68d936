"""The steps of the DAG, one module a step, from files to files.

A step imports what it needs and nothing else: the workflow reruns a step when a module that it imports has changed.
"""
