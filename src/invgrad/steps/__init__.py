"""Steps of the pipeline: one module for each kind of job, from files to files.

A step imports only what it needs, since the workflow reruns it when a module that it imports has changed.
"""
