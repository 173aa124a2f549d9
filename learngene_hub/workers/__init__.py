"""Where the work of a run is done: in this process, in several of them, or on a Ray cluster.

Work is cut into tasks, each a pure function of itself and of data that all workers share; a pool of workers runs them.
The choice of the engine changes neither the tasks nor, on CPUs, a byte of their results.
"""

from learngene_hub.workers.choice import ENGINES, EngineOptions, make_engine
from learngene_hub.workers.pool import Engine, Pool
from learngene_hub.workers.task import SharedData, Step, Task, no_step, threads

__all__ = [
    "ENGINES",
    "Engine",
    "EngineOptions",
    "Pool",
    "SharedData",
    "Step",
    "Task",
    "make_engine",
    "no_step",
    "threads",
]
