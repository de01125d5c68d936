"""Choice between a compiled program, tangent passes and automatic differentiation for the objective's gradient."""

from torch import nn

from invgrad.clients.settings import Client
from invgrad.networks.parallelism import NetworkSize, runs_together
from invgrad.objective.autodiff import Objective
from invgrad.objective.branches import Branches
from invgrad.objective.by_tangents import Matching, MatchingOfGradient, MatchingOfLocalSteps, TangentObjective
from invgrad.objective.compiled import CompiledObjective
from invgrad.objective.distances import InnerProductDistance, distance_of
from invgrad.objective.settings import Distance
from invgrad.tangent.convolutions import PassOptions
from invgrad.tangent.kernels.library import usable
from invgrad.tangent.program import DISTANCES, Program, program_of
from invgrad.tangent.tracing import trace

ALWAYS_IN_LANES, EVER_IN_LANES = 100_000, 2_000_000
"""Numbers of parameters up to which a narrow network is worth compiling for any number of trials, and up to which any
network is for many, since each lane reads a target as large. One trial of a LeNet of 62,000 takes as long either way,
one of an MLP of 790,000 five times as long in a lane; twelve of a network of 2,100,000 take as long either way.
"""


def objective_for(
    network: nn.Module,
    client: Client,
    distance: Distance,
    total_variation_weight: float,
    shape: tuple[int, ...],
    statistics_weight: float = 0,
    trials: int = 1,
) -> "Objective | TangentObjective | CompiledObjective":
    """Choose the first of a compiled program, the tangent passes and automatic differentiation that supports the
    network and the client.

    Arguments are those of `Objective`, the `shape` of one trial's images, [n, 3, h, w], and how many trials there are:
    those of a wide network fill the lanes of a compiled program if there are many.
    """
    together = runs_together(network)
    if all(parameter.requires_grad for parameter in network.parameters()) and client.batch_norm != "training":
        if program := _program(network, client, distance, shape, trials, together=together):
            return CompiledObjective(program, distance, total_variation_weight)
        if matching := _matching(network, client, distance, shape, together=together):
            one_by_one = not together or client.kind != "gradient"
            branches = Branches(next(network.parameters()).device) if one_by_one else None
            return TangentObjective(matching, total_variation_weight, branches)
    objective = Objective(network, client, distance, total_variation_weight, statistics_weight)
    objective.settle(shape)
    return objective


def _matching(
    network: nn.Module, client: Client, distance: Distance, shape: tuple[int, ...], *, together: bool
) -> Matching | None:
    """Build the gradient-matching loss by tangent passes, if they support the network and the client."""
    function = distance_of(distance)
    if client.kind == "gradient":
        options = PassOptions(together=together, products=isinstance(function, InnerProductDistance))
        passes = trace(network, shape, options)
        return MatchingOfGradient(passes, function) if passes else None
    # After the first step every trial has parameters of its own, so that the passes take one trial at a time.
    if together and NetworkSize.of(network).is_small:
        return None
    passes = trace(network, (client.batch_size or shape[0], *shape[1:]), PassOptions())
    return MatchingOfLocalSteps(passes, client, function, network.parameters()) if passes else None


def _program(
    network: nn.Module, client: Client, distance: Distance, shape: tuple[int, ...], trials: int, *, together: bool
) -> Program | None:
    """Compile the network for clients that share a gradient, if the compiled code knows all of it and it pays."""
    if client.kind != "gradient" or distance.kind not in DISTANCES or not usable("program", next(network.parameters())):
        return None
    parameters = NetworkSize.of(network).parameters
    always = together and parameters <= ALWAYS_IN_LANES
    if not always and (trials == 1 or parameters > EVER_IN_LANES):
        return None
    passes = trace(network, shape, PassOptions(together=True))
    program = program_of(passes, shape) if passes else None
    return program if program and (always or program.pays(trials, narrow=together)) else None
