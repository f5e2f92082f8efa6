"""AugMix: chains of operations, mixed with one another and with the image; three views that are to be judged
alike.
"""

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from specfreq.augment import operations
from specfreq.augment.base import Criterion, EightBit, Rows
from specfreq.core.errors import UserError
from specfreq.core.images import to_bytes

DEEPEST = 3  # chain, where the depth is drawn


class AugMix(EightBit):
    r"""Mixtures of an image with distorted copies of it, and a loss that asks for one answer to all (AugMix).

    .. math:: x' = (1 - m) \, x + m \sum_{i=1}^{w} \lambda_i \, o_{i1} \circ \dots \circ o_{id_i}(x), \quad
        \lambda \sim \mathrm{Dirichlet}(\alpha, \dots, \alpha), \; m \sim \mathrm{Beta}(\alpha, \alpha)

    .. math:: L = \ell(f(x), y)
        + \gamma \, \tfrac13 \sum_{k=0}^{2} \mathrm{KL}(p_k \,\|\, \tfrac13 (p_0 + p_1 + p_2)),
        \quad p_k = \mathrm{softmax}\, f(x_k)

    with x_0 = x and two mixtures x_1, x_2 drawn separately. After crop and flip.

    Args:
        width: chains w in a mixture.
        depth: operations in a chain; 0 draws 1, 2 or 3 for each.
        alpha: of both distributions; 1 makes them uniform.
        severity: highest level of the operations, see `operations.apply`; the original has 3 for CIFAR, 1 for
            ImageNet.
        consistency: γ, the weight of the Jensen-Shannon divergence. With 0 the network sees one mixture
            alone, and its cross-entropy is the loss.

    Source: Hendrycks et al., ICLR 2020, section 3, and the program's cifar.py.
    """

    title = "AugMix"

    def __init__(
        self,
        width: int = 3,
        depth: int = 0,
        alpha: float = 1.0,
        severity: float = 3.0,
        consistency: float = 12.0,
    ):
        super().__init__()
        operations.check(severity)
        for name, value, least in (("width", width, 1), ("depth", depth, 0), ("consistency", consistency, 0)):
            if not least <= value < float("inf"):
                raise UserError(f"{name} must be at least {least}, not {value}")
        self.compares, self.shown = consistency > 0, 3 if consistency else 1
        if not 0 < alpha < float("inf"):
            raise UserError(f"alpha must be positive, not {alpha}")
        self.width, self.depth, self.alpha, self.severity, self.consistency = (
            width,
            depth,
            float(alpha),
            severity,
            consistency,
        )

    def draw(self, count: int, generator: Generator | None) -> dict[str, Tensor]:
        mixtures = (count, 2 if self.consistency else 1)
        chains = (*mixtures, self.width)
        deepest = self.depth or DEEPEST
        operation, level = operations.draw((*chains, deepest), self.severity, generator)
        if self.depth:
            depth = torch.full(chains, self.depth)
        else:
            depth = torch.randint(1, DEEPEST + 1, chains, generator=generator)
        dirichlet = torch._sample_dirichlet  # pyright: ignore[reportPrivateImportUsage]
        weights = dirichlet(torch.full(chains, self.alpha), generator)
        share = dirichlet(torch.full((*mixtures, 2), self.alpha), generator)[..., 0]
        operation = operation.masked_fill(torch.arange(deepest) >= depth[..., None], -1)
        return {"operation": operation, "level": level, "weights": weights, "share": share}

    def transform(self, images: Tensor, rows: Rows, donors: Tensor | None = None) -> Tensor:
        return self._mixtures(images, rows)[:, 0]

    def views(self, images: Tensor, rows: Rows, donors: Tensor | None = None) -> tuple[Tensor, ...]:
        mixtures = self._mixtures(images, rows).unbind(1)
        return (images, *mixtures) if self.consistency else mixtures

    def loss(self, logits: tuple[Tensor, ...], labels: Tensor, criterion: Criterion) -> Tensor:
        if not self.consistency:
            return super().loss(logits, labels, criterion)
        logs = torch.stack([F.log_softmax(each, dim=1) for each in logits])
        mixture = (
            logs.exp().mean(0).clamp(1e-7, 1).log().expand_as(logs)
        )  # as the program does, so that it stays finite
        divergence = F.kl_div(mixture, logs, reduction="sum", log_target=True) / logs.shape[:2].numel()
        return criterion(logits[0], labels) + self.consistency * divergence

    def _mixtures(self, images: Tensor, rows: Rows) -> Tensor:
        """All mixtures of each image (B, mixtures, C, H, W)."""
        chains, operation, level = (
            rows["weights"].shape,
            rows["operation"].flatten(0, 2),
            rows["level"].flatten(0, 2),
        )
        bytes_ = to_bytes(images).contiguous()
        copies = bytes_[:, None].expand(-1, chains[1:].numel(), -1, -1, -1).flatten(0, 1)
        for step in operations.steps(copies, operation, level):
            copies = operations.apply(copies, *step)
        copies = copies.view(*chains, *images.shape[1:]).to(images.dtype) / 255
        weights, share = (rows[k].to(images.dtype) for k in ("weights", "share"))
        mixed = torch.einsum("bmw,bmwchy->bmchy", weights, copies)
        return torch.lerp(images[:, None], mixed, share[..., None, None, None])
