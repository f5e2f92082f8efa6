"""The classifier that carries its own input filter and normalisation."""

from torch import Tensor, nn


class Classifier(nn.Module):
    """Filter, normalise, classify: images (N, C, H, W) in [0, 1] -> logits (N, classes).

    Args:
        net: the network.
        mean, std: per channel (C,), of the *filtered* training images.
        filter: applied first; None for images that are filtered already.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: Tensor, std: Tensor, filter: nn.Module | None = None):
        super().__init__()
        self.net, self.filter = net, filter
        self.register_buffer("mean", mean.reshape(-1, 1, 1))
        self.register_buffer("std", std.reshape(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.net(self._seen(images))

    def features(self, images: Tensor) -> Tensor:
        """What the network's linear layer sees: images (N, C, H, W) in [0, 1] -> (N, D)."""
        return self.net.features(self._seen(images))  # pyright: ignore[reportCallIssue]

    def _seen(self, images: Tensor) -> Tensor:
        if self.filter is not None:
            images = self.filter(images)
        return (images - self.mean) / self.std
