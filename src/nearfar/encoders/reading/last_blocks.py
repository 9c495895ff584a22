"""The last blocks of a network as a network of their own, over what the blocks below them give."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from nearfar.abilities import Divides, LastBlocks
from nearfar.compute.evaluating import evaluating
from nearfar.errors import InputError

T = TypeVar("T", bound=nn.Module)
TOLERANCE = 1e-3  # of the divided network against the whole, relative to the largest number


@dataclass
class Unlocking:
    """How many last blocks of an encoder are trained, after which share of the steps, and their learning rate's factor.

    last: those blocks, once the encoder is prepared; None where none are trained.
    """

    count: int
    at: float
    rate: float
    last: LastBlocks | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.at < 1 and 0 < self.rate < math.inf):
            raise InputError(
                "encoder: unlock_at is a share of the steps, 0 to below 1, and unlock_rate a factor above 0; they are "
                f"{self.at:g} and {self.rate:g}"
            )

    def blocks_of(self, encoder: Any) -> LastBlocks | None:
        """Return the blocks of a prepared encoder, which is frozen but for these; None where there are none."""
        if self.count and self.last is None:
            if not isinstance(encoder, Divides):
                raise InputError(f"encoder.unlock: {type(encoder).__name__} has no blocks; leave unlock out")
            self.last = encoder.last_blocks(self.count)
        for parameter in self.parameters():
            parameter.requires_grad_()
        return self.last

    def parameters(self) -> Sequence[nn.Parameter]:
        """Return what is trained of the encoder."""
        return () if self.last is None else self.last.parameters

    def rates(self, module: nn.Module) -> dict[str, float]:
        """Return the factor of the learning rate of each of these parameters, by its name in a module."""
        own = {id(parameter) for parameter in self.parameters()}
        return {name: self.rate for name, parameter in module.named_parameters() if id(parameter) in own}

    def says(self, name: str) -> list[str]:
        """Return a line about the blocks, if there are any. name: of the encoder."""
        size = sum(parameter.numel() for parameter in self.parameters())
        when = f"after {self.at:.0%} of the steps" if self.at else "from the first step"
        blocks = "last block is" if self.count == 1 else f"last {self.count} blocks are"
        line = f"{name}: the {blocks} trained {when} ({size:,} parameters), the others stay locked"
        return [line] if size else []


class Passed(nn.Module):
    """Stands for a block below, whose attributes it has: it gives back the states that it is given."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        object.__setattr__(self, "block", block)  # no part of this one, so its weights are none

    def __getattr__(self, name: str) -> Any:
        return super().__getattr__(name) if name in ("training", "_modules") else getattr(self.block, name)

    def forward(self, *args: Any, **named: Any) -> Any:
        """Return the first argument of floating point, which no ids and positions are."""
        given = (*args, *named.values())
        return next(value for value in given if isinstance(value, Tensor) and value.is_floating_point())


class Reached(Exception):
    """Stops a forward pass where the last blocks begin; `state` is what reached them."""

    def __init__(self, state: Tensor) -> None:
        super().__init__()
        self.state = state


class Stop(Passed):
    """Stands for the first of the last blocks, whose attributes it has, and ends a forward pass there."""

    def forward(self, *args: Any, **named: Any) -> Any:
        """Raise `Reached`."""
        raise Reached(args[0] if args else named["hidden_states"])


def reached(run: Callable[[], object]) -> Tensor:
    """Return the tensor with which a forward pass through the network of `until_block` stops."""
    try:
        run()
    except Reached as found:
        return found.state
    raise InputError("encoder.unlock: a forward pass does not go through the block; leave unlock out")


def until_block(network: T, first: nn.Module) -> T:
    """Return a network that shares its blocks, and stops where `first` would begin.

    The given network stays as it is: a batch may be read while another thread runs the last blocks.
    """
    name, child = next(
        (name, child) for name, child in network.named_children() if any(part is first for part in child.modules())
    )
    return with_parts(network, **{name: Stop(child) if child is first else until_block(child, first)})


def from_block(network: T, first: nn.Module) -> T:
    """Return a network that shares its blocks from `first` on, and passes its input on in the place of those before.

    What comes before is what is registered before, which is the order of most networks; `tried` says whether it is.
    """
    children = list(network.named_children())
    after = next(i for i, (_, child) in enumerate(children) if any(part is first for part in child.modules()))
    before = {name: Passed(child) for name, child in children[:after]}
    name, child = children[after]
    return with_parts(network, **before, **{name: child if child is first else from_block(child, first)})


def first_of(network: nn.Module, parameters: Iterable[nn.Parameter]) -> nn.Module:
    """Return the first and largest block all of whose parameters are among these. Errors: `StopIteration` for none."""
    wanted = {id(parameter) for parameter in parameters}
    for child in network.children():
        own = [id(parameter) in wanted for parameter in child.parameters()]
        if own and all(own):
            return child
        if any(own):
            return first_of(child, parameters)
    raise StopIteration


def with_parts(module: T, **parts: nn.Module) -> T:
    """Return a module with other parts in the place of some, and all else shared with the given one."""
    other = module.__new__(type(module))
    other.__dict__ = {**module.__dict__, "_modules": {**module._modules, **parts}}
    return other


def tried(last: LastBlocks | None, encoder: nn.Module, inputs: Any, name: str) -> LastBlocks:
    """Return the last blocks, if they give of the states below what the whole encoder gives. Errors: `InputError`.

    Their parameters are then those on which the vectors depend, and these alone need a gradient.
    """
    if last is None:
        raise _cannot_be_divided(name)
    encoder.requires_grad_(False)
    for parameter in last.parameters:
        parameter.requires_grad_()
    try:
        with evaluating(encoder), torch.enable_grad():
            found = last(last.below(inputs))
            expected = encoder(inputs).detach()
            gradients = torch.autograd.grad(found.square().sum(), list(last.parameters), allow_unused=True)
        equal = bool((found - expected).abs().max() <= TOLERANCE * expected.abs().max())
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError, StopIteration) as error:
        raise _cannot_be_divided(name) from error
    if not equal:
        raise _cannot_be_divided(name)
    used = [p for p, gradient in zip(last.parameters, gradients, strict=True) if gradient is not None]
    encoder.requires_grad_(False)
    for parameter in used:
        parameter.requires_grad_()
    last.parameters = used
    return last


def _cannot_be_divided(name: str) -> InputError:
    return InputError(
        f"encoder.unlock: {name} cannot be divided into stored blocks and last ones; leave unlock out, or train the "
        "whole encoder with its setting frozen"
    )


def checked_count(count: int, most: int, name: str) -> int:
    """Return a number of last blocks. Errors: `InputError` for none, or as many as there are."""
    if not 1 <= count < most:
        raise InputError(f"encoder.unlock: {name} has {most} blocks or layers; 1 to {most - 1} can be unlocked")
    return count
