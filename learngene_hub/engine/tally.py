"""What every worker of a crew has done."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Share:
    """The part of one worker: tasks that it finished, and seconds that it was at work."""

    tasks: int = 0
    busy: float = 0.0


@dataclass
class Tally:
    """What a crew has done since it was last asked.

    Attributes:
        seconds: wall time in which there was work.
        shares: number of a worker, from 1 -> its part.
        retried: tasks that were lost and tried again.
    """

    seconds: float = 0.0
    shares: dict[int, Share] = field(default_factory=dict)
    retried: int = 0

    def enter(self, worker: int, busy: float, *, done: bool) -> None:
        """Add one task of `worker`, `busy` seconds long."""
        share = self.shares.setdefault(worker, Share())
        share.tasks += done
        share.busy += busy

    def record(self, name: str, workers: int, place: str) -> Mapping[str, Any]:
        """The `engine` entry of a row of `metrics.jsonl`, in JSON types; idle shares are fractions of `seconds`.

        Args:
            name: of the engine.
            workers: that have been started so far.
            place: what they compute on.
        """
        shares = [(number, self.shares.get(number, Share())) for number in range(1, workers + 1)]
        busy = sum(share.busy for _, share in shares)
        return {
            "name": name,
            "place": place,
            "workers": workers,
            "seconds": round(self.seconds, 3),
            "idle": self._idle(busy / workers),
            "retried": self.retried,
            "each": [
                {"worker": number, "shards": one.tasks, "busy": round(one.busy, 3), "idle": self._idle(one.busy)}
                for number, one in shares
            ],
        }

    def _idle(self, busy: float) -> float:
        return round(max(0.0, 1 - busy / self.seconds), 3) if self.seconds > 0 else 0.0
