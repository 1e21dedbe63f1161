"""Many videos: a queue of run folders, and several ways to work through it.

- A *job* is one video with what is asked of it: the arguments of `dinotrack VIDEO` (jobs, manifest,
  naming).
- The *queue* gives jobs to an *executor*, passes over those that are done, and comes back to those
  that somebody else is at (queue, executors, processes, ray_tasks). A *worker* is the process in
  which one job is done (worker).
- An *event* is what happened to a job. The journal keeps them, a line each, and a summary is made
  of them (events, summary).

What a worker does is a function that the caller gives, and that any process can import. So this
package knows nothing of tracking.
"""
