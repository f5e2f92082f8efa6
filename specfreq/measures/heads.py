"""The last linear layer of any network, and the features that it sees."""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from specfreq.core.errors import UserError, unknown
from specfreq.measures import inference
from specfreq.measures.answers import Images

Seen = Callable[
    [Tensor], tuple[Tensor, Tensor]
]  # images (B, C, H, W) in [0, 1] -> features (B, D), logits (B, classes)


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
    if layer is None and isinstance(head, nn.Module) and callable(getattr(model, "features", None)):
        return lambda x: (z := model.features(x), head(z))
    named = dict(model.named_modules(remove_duplicate=False))  # one layer may go by several names
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    if layer is not None and layer not in named:
        raise unknown("layer", layer, linear, where=what, hint="linear layers of the network")
    chosen = named[layer] if layer is not None else None
    last: list[nn.Module] = []

    def seen(x: Tensor) -> tuple[Tensor, Tensor]:
        with _inputs(chosen) as given:
            logits = model(x)
        if not given:
            raise UserError(f"{what}: layer={layer} does not run; the linear layers are {_list(linear)}")
        return given[-1].flatten(1) if given[-1].shape[2:].numel() == 1 else given[-1], logits

    def find(x: Tensor) -> Tensor:
        outputs: dict[nn.Module, Tensor] = {}
        handles = [
            m.register_forward_hook(lambda m, _, out: outputs.update({m: out})) for m in linear.values()
        ]
        try:
            logits = model(x)
        finally:
            for handle in handles:
                handle.remove()
        last.extend(
            m
            for m, out in outputs.items()
            if out.shape == logits.shape and torch.equal(out.to(logits), logits)
        )
        return logits

    def ask(answer: Callable[[Tensor], Tensor]) -> Tensor:
        return inference.evaluate(model, images.subset(min(2, len(images))), answer)

    if chosen is None:
        ask(find)
        if not last:
            hint = f"write layer=NAME for one of {_list(linear)}" if linear else "it has no linear layer"
            raise UserError(
                f"{what} needs the linear layer that gives the logits, and none of this network does; {hint}"
            )
        chosen, layer = last[-1], next(name for name, module in linear.items() if module is last[-1])
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
