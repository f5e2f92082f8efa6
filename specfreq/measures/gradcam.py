"""Grad-CAM: where in an image a classifier sees what it answers, as maps over the image."""

import copy
import math
import warnings
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from specfreq.core.devices import autocast, device_of, exact
from specfreq.core.errors import UserError, unknown
from specfreq.core.images import unit
from specfreq.measures import inference


def target(model: nn.Module, layer: str | None = None, what: str = "grad-cam") -> nn.Module:
    """The layer whose outputs, maps (N, K, h, w), are weighted.

    Of a network of ours ``maps``: the last maps behind their ReLU or GELU, as they are pooled over the image.

    Args:
        model: a network, or a `Classifier` around it.
        layer: another one, as ``named_modules`` of the model calls it.
        what: who asks, for errors.

    Raises:
        UserError: no layer is called so; the model has no ``maps`` and no layer is named.
    """
    named = {name: module for name, module in model.named_modules() if name}
    if layer is not None:
        if layer not in named:
            raise unknown("layer", layer, named, where=what)
        return named[layer]
    for owner in (model, getattr(model, "net", None)):
        found = getattr(owner, "maps", None)
        if isinstance(found, nn.Module):
            return found
    convolutions = [name for name, module in named.items() if isinstance(module, nn.Conv2d)]
    hint = f"such as {convolutions[-1]}" if convolutions else "it has no convolution"
    raise UserError(f"{what} needs a layer of this network whose maps it weighs; write layer=NAME, {hint}")


def maps(
    model: nn.Module,
    images: Tensor,
    classes: Tensor,
    *,
    layer: str | None = None,
    precision: str = "float32",
    batch: int = 100,
    view: Callable[[Tensor], Tensor] = lambda x: x,
) -> Tensor:
    r"""Grad-CAM of one class for each image: (N, H, W), float32 on the CPU, not negative, zero where nothing
    speaks for the class.

    .. math:: L_c(u) = \max\Bigl(0, \sum_k \alpha_k A_k(u)\Bigr), \qquad
        \alpha_k = \frac{1}{hw} \sum_u \frac{\partial f_c}{\partial A_k(u)}

    with the maps :math:`A_k` (h, w) of a layer and the logit :math:`f_c`; bilinearly enlarged to the size of
    the image. captum computes it.

    The layer's maps are taken to cover the image. Those of All-CNN do not quite: its convolution without
    padding loses a rim, of a twelfth of the side at 32 pixels, over which they are stretched.

    Args:
        model: from images in [0, 1] to logits (N, classes); in evaluation mode meanwhile.
        images: (N, C, H, W), bytes or floats in [0, 1].
        classes: int64 (N,), whose logits are asked for.
        layer: see `target`.
        view: is applied to each batch of float images first.

    Raises:
        UserError: see `target`; the layer does not run, or its outputs are no maps.

    Source: Selvaraju et al., ICCV 2017, equations 1 and 2. Directly before an average over the image and a
    linear layer it is that layer's class activation map (Zhou et al., CVPR 2016), negative parts cut off.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that notebooks have no widgets for its progress bars
        from captum.attr import LayerGradCam  # seconds to import

    asked = LayerGradCam(model, target(model, layer))
    device = device_of(model)
    found = []
    with inference.evaluating(model), torch.enable_grad(), exact(device), autocast(device, precision):
        for part, wanted in zip(images.split(batch), classes.split(batch), strict=True):
            x = view(unit(part.to(device))).detach().requires_grad_()
            small = _asked(asked, x, wanted.to(device), layer).float()
            size = images.shape[-2:]
            found.append(F.interpolate(small, size, mode="bilinear", align_corners=False)[:, 0].cpu())
    return torch.cat(found) if found else torch.zeros(0, *images.shape[-2:])


def _asked(asked: Any, images: Tensor, classes: Tensor, layer: str | None) -> Tensor:
    """The small maps (N, 1, h, w) of a batch."""
    where = f"layer={layer}"
    try:
        small = asked.attribute(images, classes, relu_attributions=True)
    except (AssertionError, RuntimeError) as error:
        if layer is None or isinstance(error, torch.OutOfMemoryError):
            raise
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"grad-cam: {where} does not take part in the answer, or not by maps ({reason})"
        ) from error
    if small.ndim != 4:
        shape = "x".join(map(str, small.shape[1:])) or "one number"
        raise UserError(f"grad-cam: {where} gives {shape} for each image, not maps; choose another layer")
    return small.detach()


def scaled(maps: Tensor) -> Tensor:
    """Each map (N, H, W) over its maximum; one that is zero everywhere stays so."""
    most = maps.amax((-2, -1), keepdim=True)
    return maps / torch.where(most > 0, most, 1)


def randomised(model: nn.Module, share: float, seed: int = 0) -> tuple[nn.Module, int]:
    """A copy whose last layers have parameters drawn anew: a share of the layers that have any, from the
    logits backwards, rounded up.

    Running means and variances of normalisation begin anew as well. Of a network of ours, a whitening layer
    that was fitted and not learned stays.

    Returns:
        The copy, on the device of the model; and how many layers were drawn anew.

    Source: Adebayo et al., NeurIPS 2018, section 3.1 (cascading randomisation).
    """
    net = copy.deepcopy(model).cpu()
    own = [
        module
        for module in net.modules()
        if callable(getattr(module, "reset_parameters", None))
        and next(module.parameters(recurse=False), None) is not None
    ]
    own.sort(key=lambda module: isinstance(module, nn.Linear))  # those that give logits run last
    count = math.ceil(Fraction(repr(float(share))) * len(own))  # a product would be rounded
    with torch.random.fork_rng(devices=[]):  # drawn on the CPU, so alike for all devices
        torch.default_generator.manual_seed(seed)
        for module in own[len(own) - count :]:
            module.reset_parameters()  # pyright: ignore[reportCallIssue]
    return net.to(device_of(model)), count
