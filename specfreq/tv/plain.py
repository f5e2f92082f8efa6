"""The plain engine, for any device: all active images at once, in elementary operations that torch has
everywhere.

They are element by element, each rounded by itself, so that an image's bits do not depend on what else is in
the batch.
"""

import torch
from torch import Tensor

from specfreq.tv.operators import adjoint, certificate, gradient, shrink


class Unusable(RuntimeError):
    """What a compiled engine raises where its code does not compile or cannot be launched."""


class Plain:
    """The state of a batch: groups of channels (B, C, H, W) that share one dual norm.

    Args:
        f: the images; shift, mean: of each channel (B, C), what is subtracted while iterating, and the mean.
        flat: primal energy of the means (B,), double precision; weight: (B,), double precision.
        dual: fields (B, C, 2, H, W) to start from, of vectors not longer than 1.
        fitted: of which (B,) the image is that which fits the dual field best, not the primal one.
        momentum: iterate on the dual field alone, as FGP does; all are fitted then.
    """

    def __init__(
        self,
        f: Tensor,
        shift: Tensor,
        mean: Tensor,
        flat: Tensor,
        weight: Tensor,
        dual: Tensor,
        fitted: Tensor,
        momentum: bool,
    ):
        self.f, self.shift, self.mean, self.flat, self.weight = (
            f,
            shift[..., None, None],
            mean[..., None, None],
            flat,
            weight,
        )
        self.g, self.y, self.p, self.fitted, self.momentum = f - self.shift, dual, dual, fitted, momentum
        self.x = self.new = self._best(self.g).to(f)

    def take(self, done: Tensor) -> tuple[Tensor, Tensor]:
        """Images and dual fields of those of the active images that are done; go on with the others alone."""
        taken = self.image[done], self.p[done]
        self.__dict__.update(
            {name: value[~done] for name, value in self.__dict__.items() if isinstance(value, Tensor)}
        )
        return taken

    def advance(self, lines: list[tuple], count: int) -> None:
        """`count` iterations (see `steps`) with these step sizes, a line of them for each or one for all."""
        # keeps rounded vectors in the unit ball
        inside = 1 - (4 + self.f.shape[1]) * torch.finfo(self.f.dtype).eps
        sizes = [tuple(map(self._scalar, line)) for line in lines]
        for k in range(count):
            a, b, c, sigma, theta, rho, beta = sizes[min(k, len(sizes) - 1)]
            self.new = (a * self.x + b * self.g) - c * adjoint(self.y)
            change = self.new - self.x
            q = shrink(self.y + sigma[:, :, None] * gradient(self.new + theta * change))
            if self.momentum:
                q = q * inside
                self.y, self.p = q + beta[:, :, None] * (q - self.p), q
            else:
                self.y, self.p = self.y + rho[:, :, None] * (q - self.y), q
            self.x = self.x + rho * change
        self.p = self.p if self.momentum else self.p * inside

    def certify(self) -> Tensor:
        """Primal energy and gap of the active images, or their means if better; the parts of the gap of the
        images. (4, active).
        """
        self.image = self.new + self.shift
        if self.fitted.any():
            self.image = torch.where(
                self.fitted[:, None, None, None], self._best(self.f).to(self.f), self.image
            )
        primal, slack, misfit = certificate(self.image, self.f, self.p, self.weight)
        gap = slack + misfit
        if (flat := self.flat <= primal).any():
            self.image = torch.where(flat[:, None, None, None], self.mean, self.image)
            level, *parts = certificate(self.image, self.f, self.p, self.weight)
            primal, gap = torch.where(flat, level, primal), torch.where(flat, sum(parts), gap)
        return torch.stack([primal, gap, slack, misfit])

    def _best(self, f: Tensor) -> Tensor:
        """The images that are best for the dual fields, in double precision."""
        return f.double() - self.weight[:, None, None, None] * adjoint(self.p.double())

    def _scalar(self, number: Tensor | float) -> Tensor:
        number = torch.as_tensor(number, dtype=self.f.dtype, device=self.f.device)
        return number.expand(len(self.f)).contiguous()[:, None, None, None]
