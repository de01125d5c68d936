"""The warm process: has imported everything that jobs import, and forks itself for each job.

Importing torch takes a job two to five seconds, which is longer than most jobs compute. So a run of more than a few
jobs starts one process that imports everything once (`server.py`, started by `start.py`), and then:

1. Snakemake starts a job as always, `python -m invgrad …`, and a notebook its kernel in the same way. This is the
   *client* (`client.py`): before it imports anything that takes time, it connects to the socket that the environment
   variable `INVGRAD_WARM` names, and hands over its arguments, its environment and its three standard streams.
2. The warm process forks, and the fork calls `invgrad.cli.main.main` with them: it is the job.
3. The client passes on signals, and ends as the job has ended. If the client is killed, or its parent, the job gets a
   SIGTERM, and keeps its state as it would on any other.
4. The warm process ends when Snakemake does, however that ends, since it holds the other end of a pipe; its jobs get a
   SIGTERM then.

Nothing depends on it: the fork computes what the client would have computed. Where there is no warm process (another
platform, a run of few jobs, a job that has a cluster's job to itself, `INVGRAD_WARM=` set by the user), or where it
declines, the client runs the job itself. It declines whatever a library may have read while it was imported and would
now be otherwise (`circumstances`), such as another number of threads, and everything once CUDA is in use, which does
not survive a fork.
"""
