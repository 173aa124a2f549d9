"""One network after another: what the other back ends must agree with."""

from learngene_hub.backends.jobs import Fitted, Trainee, Training
from learngene_hub.rates import Slow
from learngene_hub.training import Circuit, leading, train


def train_alone(one: Trainee, training: Training) -> Fitted:
    """Train one network by `training.train`."""
    inherited = [leading(one.network.get_parameter(name), shape) for name, shape in one.inherited.items()]
    batches = one.batches()
    loss = train(
        one.network,
        batches,
        training.optimisation,
        steps=training.steps,
        precision=training.precision,
        rate=training.rate,
        circuit=None if one.thin is None else Circuit(one.network, one.thin),
        circuit_loss=training.circuit_loss,
        slow=Slow(inherited, training.gene_rate) if inherited and training.gene_rate else None,
        on_step=one.on_step,
    )
    return Fitted(one, loss, batches)
