"""Image sets behind an input filter, as `data.derived` makes them."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator

from specfreq import filters
from specfreq.core.spec import unquoted

if TYPE_CHECKING:
    from torch import Tensor

# torch is imported by the methods that need it: names are known without

TOLERANCE = 0.5 / 255  # what lies outside by less has been rounded to white or black, and not cut off


def _spelled(text: str) -> str:
    return filters.spelling(unquoted(text))


class Filtered:
    r"""The images of a set behind an input filter, requantised to 8 bits.

    .. math:: b' = \Bigl\lfloor 255 \, \operatorname{clip}\Bigl(\frac{h(b / 255) - l}{u - l}, 0, 1\Bigr)
        + \tfrac12 \Bigr\rfloor

    It is computed in float64, so that machines agree on the level. The filter h is fitted on the training
    images; and so is the range.

    Args:
        filter: its description, in quotes if it has several parameters.
        values: [l, u] is [0, 1], and what lies outside is cut off (``clip``), which is said when the set is
            loaded; or the range of the filtered training images (``stretch``): one for the whole set, as a
            range for each image would change the contrasts between them.
    """

    what = "another set behind an input filter"
    version = 1
    learns_from = ("train",)

    def __init__(
        self, filter: Annotated[str, AfterValidator(_spelled)], values: Literal["clip", "stretch"] = "clip"
    ):
        self.filter, self.stretched = filters.build(filter), values == "stretch"
        self.low, self.high = 0.0, 1.0
        self.left_out = ""

    def fit(self, images: "Tensor", labels: "Tensor", classes: tuple[str, ...]) -> Self:
        from specfreq.core.images import unit

        self.filter.fit(unit(images))
        if self.stretched:
            ranges = [self._filtered(part).aminmax() for part in images.split(1000)]
            self.low = min(float(low) for low, _ in ranges)
            self.high = max(float(high) for _, high in ranges)
            if self.low == self.high:  # constant images, such as a published filter makes
                self.high = self.low + 1
        return self

    def __call__(self, images: "Tensor", labels: "Tensor", split: str) -> "Tensor":
        import torch

        made, outside = torch.empty_like(images), 0
        for old, new in zip(images.split(1000), made.split(1000), strict=True):
            values = (self._filtered(old) - self.low) / (self.high - self.low)
            outside += int(((values < -TOLERANCE) | (values > 1 + TOLERANCE)).sum())
            new.copy_((255 * values.clamp(0, 1) + 0.5).floor())
        share = 100 * outside / max(1, images.numel())
        self.left_out = f"{share:.2g} % of the values left the range and were cut off" if outside else ""
        return made

    def _filtered(self, images: "Tensor") -> "Tensor":
        """Bytes -> what the filter makes of them, float64."""
        return self.filter(images.double() / 255)
