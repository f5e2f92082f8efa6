"""The fast engine, for the CPU: image by image in compiled code, ten iterations and more at a time; any
threads, same bits.
"""

import numpy as np
import torch
from torch import Tensor

from specfreq.tv import kernels, native


class Fused:
    """The state of the images (B, C, H, W) of a batch; see `plain.Plain`."""

    @staticmethod
    def fits(f: Tensor) -> bool:
        """Images of any size do."""
        return True

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
        batch, channels, height, width = f.shape
        pixels = height * width
        self.shape, self.fitted, self.momentum = f.shape[1:], fitted.numpy(), momentum
        self.width, self.active, self.weight, self.flat = (
            width,
            np.arange(batch),
            weight.numpy(),
            flat.numpy(),
        )
        self.f, self.shift, self.mean = (
            f.reshape(batch, channels, pixels).numpy(),
            shift.numpy(),
            mean.numpy(),
        )
        self.g, self.x, self.new, self.image = (np.empty_like(self.f) for _ in range(4))
        self.y, self.p = (np.zeros((batch, channels, 2, width + pixels), self.f.dtype) for _ in range(2))
        self.y[..., width:] = self.p[..., width:] = dual.reshape(batch, channels, 2, pixels).numpy()
        self._share(kernels.begin, self.f, self.shift, self.weight, self.g, self.x, self.new, self.p, width)

    def take(self, done: Tensor) -> tuple[Tensor, Tensor]:
        """Images and dual fields of those of the active images that are done; go on with the others alone."""
        leaving = done.numpy()
        taken, self.active = self.active[leaving], self.active[~leaving]
        image, dual = torch.from_numpy(self.image[taken]), torch.from_numpy(self.p[taken][..., self.width :])
        return image.view(-1, *self.shape), dual.reshape(-1, self.shape[0], 2, *self.shape[1:])

    def advance(self, lines: list[tuple], count: int) -> None:
        """`count` iterations with these step sizes, one line of them for each or one for all."""
        table = np.empty((len(lines), 7, len(self.f)), self.f.dtype)
        for k, line in enumerate(lines):
            for row, value in zip(table[k], line, strict=True):
                row[self.active] = value
        self._share(
            kernels.advance, table, count, self.momentum, self.g, self.x, self.y, self.p, self.new, self.width
        )

    def certify(self) -> Tensor:
        """Primal energy and gap of the active images, or their means if better; the parts of the gap of the
        images. (4, active).
        """
        energies = np.empty((4, len(self.f)))
        arrays = self.f, self.shift, self.mean, self.flat, self.weight, self.new, self.p, self.image, energies
        self._share(kernels.certify, *arrays, self.fitted, self.width)
        return torch.from_numpy(energies[:, self.active])

    def _share(self, entries, *arguments) -> None:
        """Let the kernel of our precision do the active images, each thread its part of them."""
        kernel = entries[self.f.dtype.name]
        native.share(kernel, self.active, *arguments)
