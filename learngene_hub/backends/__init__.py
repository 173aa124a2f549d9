"""Ways to train several networks of one shape, behind one function, and the choice between them.

`loop` trains one network after another, `grouped` all of them as one, `graph` beside each other on a CUDA device. All
see the same images and end with the same weights up to rounding; which is faster depends on network and machine.
"""

from learngene_hub.backends.choice import CANDIDATES, Choice, choose
from learngene_hub.backends.jobs import BACKENDS, Backend, Fitted, Trainee, Training
from learngene_hub.backends.memory import TOGETHER
from learngene_hub.backends.together import train_each

__all__ = [
    "BACKENDS",
    "CANDIDATES",
    "TOGETHER",
    "Backend",
    "Choice",
    "Fitted",
    "Trainee",
    "Training",
    "choose",
    "train_each",
]
