"""What every augmentation is: a table of draws for an epoch, a transform that obeys it, views and a loss."""

from collections.abc import Callable, Mapping

from torch import Generator, Tensor, nn

Criterion = Callable[[Tensor, Tensor], Tensor]  # logits (N, classes), labels (N,) -> mean loss


class Augmentation(nn.Module):
    """No augmentation, and the base of all others: images as they are, one cross-entropy.

    What happens to image i in an epoch is row i of a table that is drawn for the whole data set at once, so that batches,
    order, processes and devices cannot change it. The trainer calls `draw` once an epoch, then `views` and `loss` for each
    batch; `forward` does the same for a batch alone, as a transform in a pipeline.
    """

    donors = False  # whether images meet others of the data set, row "donor" of the table

    def __init__(self):  # the signature is read for parameters, and torch's own takes anything
        super().__init__()

    def draw(self, count: int, generator: Generator) -> dict[str, Tensor]:
        """What will happen to each of ``count`` images in one epoch: tensors (count, ...) on the CPU, a row per image."""
        return {}

    def transform(self, images: Tensor, rows: Mapping[str, Tensor], donors: Tensor | None = None) -> Tensor:
        """Images (B, C, H, W) in [0, 1], their rows of the table, and their donors of the same shape -> images."""
        return images

    def views(self, images: Tensor, rows: Mapping[str, Tensor], donors: Tensor | None = None) -> tuple[Tensor, ...]:
        """What the network is shown of a batch, the plain images first: a tuple of (B, C, H, W)."""
        return (images,)

    def loss(self, logits: tuple[Tensor, ...], labels: Tensor, criterion: Criterion) -> Tensor:
        """The loss over the logits (B, classes) of all views: the sum of theirs."""
        return sum(criterion(each, labels) for each in logits)

    def forward(self, images: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Transform a batch (B, C, H, W) in [0, 1] by draws of its own; donors come from the batch itself."""
        rows = {k: v.to(images.device) for k, v in self.draw(len(images), generator).items()}
        return self.transform(images, rows, images[rows["donor"]] if self.donors else None)
