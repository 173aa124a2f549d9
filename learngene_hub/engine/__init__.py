"""Where the work of a run is done: in this process, in several of them, or on a Ray cluster.

Whoever has work cuts it into tasks, each a pure function of itself and of a scene that all workers share, and hands
them to a crew. Which engine made the crew changes neither the tasks nor, on CPUs, a byte of what they give.
"""

from learngene_hub.engine.choice import ENGINES, EngineOptions, make_engine
from learngene_hub.engine.crew import Crew, Engine
from learngene_hub.engine.place import chip_kind, device_name, on_cpu, processor_name
from learngene_hub.engine.task import Scene, Step, Task, no_step, threads

__all__ = [
    "ENGINES",
    "Crew",
    "Engine",
    "EngineOptions",
    "Scene",
    "Step",
    "Task",
    "chip_kind",
    "device_name",
    "make_engine",
    "no_step",
    "on_cpu",
    "processor_name",
    "threads",
]
