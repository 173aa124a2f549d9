"""Numbers as people read them: accuracies in percent, differences in points with their sign, costs in round figures."""

from learngene_hub.report.results import Summary

MINUS = "\N{MINUS SIGN}"


def percent(value: float) -> str:
    """An accuracy or a share, in [0, 1], in percent without the sign.

    >>> percent(0.7316)
    '73.2'
    """
    return f"{100 * value:z.1f}"


def accuracy(summary: Summary) -> str:
    """A mean accuracy in percent, with its interval if it has one: `73.2 ± 1.5`."""
    return percent(summary.mean) + ("" if summary.ci95 is None else f" ± {percent(summary.ci95)}")


def points(summary: Summary) -> str:
    """A difference of accuracies in percentage points, signed, with its interval: `+17.5 ± 1.5`."""
    value = float(percent(summary.mean))
    return ("+" if value > 0 else MINUS if value < 0 else "") + size(summary)


def size(summary: Summary) -> str:
    """A difference of accuracies without its sign, with its interval: `17.5 ± 1.5`."""
    return accuracy(Summary(mean=abs(summary.mean), ci95=summary.ci95))


def rate(value: float) -> str:
    """A learning rate, width or depth, as short as it can be."""
    return f"{value:g}"


def count(value: float) -> str:
    """A number of things, with commas."""
    return f"{value:,.0f}"


def flops(value: float) -> str:
    """Floating-point operations with a power of ten.

    >>> flops(4.21e9)
    '4.2e9'
    """
    digits, _, power = f"{value:.1e}".partition("e")
    return f"{digits}e{int(power)}" if value else "0"


def seconds(value: float) -> str:
    """Seconds, whole ones from ten on."""
    return f"{value:,.0f}" if value >= 10 or not value else f"{value:.1f}"


WORDS = (percent, accuracy, points, count, flops, seconds)
