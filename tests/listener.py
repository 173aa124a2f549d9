"""A reporter that remembers what it is told."""

from contextlib import contextmanager

from learngene_hub.core.progress import SilentReporter


class Listener(SilentReporter):
    """Lines, warnings and bars; at the line number `stop_after` it stops everything, as Ctrl-C would."""

    def __init__(self, stop_after=None):
        self.lines, self.warnings, self.bars, self.stop_after = [], [], [], stop_after

    def line(self, text):
        self.lines.append(text)
        if len(self.lines) == self.stop_after:
            raise KeyboardInterrupt("stopped by the test")

    def warn(self, text):
        self.warnings.append(text)

    @contextmanager
    def task(self, title, total, unit="it"):
        bar = {"title": title, "total": total, "unit": unit, "done": 0}
        self.bars.append(bar)

        class Bar:
            def advance(self, amount=1.0, **fields):
                bar["done"] += amount

        yield Bar()
