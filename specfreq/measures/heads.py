"""The last linear layer of any network, and the features that it sees."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from specfreq.core.errors import UserError, unknown
from specfreq.measures import inference
from specfreq.measures.answers import Images

# images (B, C, H, W) in [0, 1] -> features (B, D), logits (B, classes)
Seen = Callable[[Tensor], tuple[Tensor, Tensor]]


def watched(model: nn.Module, images: Images, layer: str | None, what: str) -> Seen:
    """What asks a network about images for both its logits and the features (B, D) from which a linear layer
    makes them.

    Args:
        model: any network whose classes are told apart by a linear layer that `forward` calls. One of ours,
            with ``features`` and ``net.head``, is asked for those.
        images: two of them are shown to it, to find that layer.
        layer: its name in ``model.named_modules()``, if it is not the last linear layer executed, whose
            output is the logits.
        what: who asks, for errors.

    Raises:
        UserError: no linear layer gives the logits (names those there are), no layer is called so, or it sees
            something else than one row of numbers for each image.
    """
    head = getattr(getattr(model, "net", None), "head", None)
    features = getattr(model, "features", None)
    if layer is None and isinstance(head, nn.Module) and callable(features):
        asked: Callable[[Tensor], Any] = features
        return lambda x: (z := asked(x), head(z))
    named = dict(model.named_modules(remove_duplicate=False))  # one layer may go by several names
    linear: dict[str, nn.Module] = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    if layer is not None and layer not in named:
        raise unknown("layer", layer, linear, where=what, hint="linear layers of the network")
    found = [] if layer is None else [named[layer]]  # the last is the one

    def seen(x: Tensor) -> tuple[Tensor, Tensor]:
        with _inputs(found[-1]) as given:
            logits = model(x)
        if not given:
            raise UserError(f"{what}: layer={layer} does not run; the linear layers are {_list(linear)}")
        return given[-1].flatten(1) if given[-1].shape[2:].numel() == 1 else given[-1], logits

    def find(x: Tensor) -> Tensor:
        outputs: dict[nn.Module, Tensor] = {}

        def keep(module: nn.Module, _: Any, out: Any) -> None:
            outputs[module] = out

        handles = [module.register_forward_hook(keep) for module in linear.values()]
        try:
            logits = model(x)
        finally:
            for handle in handles:
                handle.remove()
        found.extend(
            m
            for m, out in outputs.items()
            if out.shape == logits.shape and torch.equal(out.to(logits), logits)
        )
        return logits

    def ask(answer: Callable[[Tensor], Tensor]) -> Tensor:
        return inference.evaluate(model, images.subset(min(2, len(images))), answer)

    if layer is None:
        ask(find)
        if not found:
            hint = f"write layer=NAME for one of {_list(linear)}" if linear else "it has no linear layer"
            raise UserError(
                f"{what} needs the linear layer that gives the logits, and none of this network does; {hint}"
            )
        layer = next(name for name, module in linear.items() if module is found[-1])
    features = ask(lambda x: seen(x)[0])
    if features.ndim != 2:
        shape = "x".join(map(str, features.shape[1:]))
        raise UserError(
            f"{what}: layer={layer} sees {shape} numbers for each image, not one row; choose another layer"
        )
    return seen


@contextlib.contextmanager
def _inputs(layer: nn.Module) -> Iterator[list[Tensor]]:
    """What a layer is given meanwhile, call by call."""
    given: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    try:
        yield given
    finally:
        handle.remove()


def _list(linear: dict[str, nn.Module]) -> str:
    return ", ".join(f"{name} ({m.in_features} -> {m.out_features})" for name, m in linear.items()) or "none"
