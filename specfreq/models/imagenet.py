"""Networks for large images: torchvision's, made to end like the others."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from specfreq.models.layers import Network

# name -> (first convolution, last layer, fan that torchvision scales the first convolution's weights by)
_PARTS: dict[str, tuple[str, str, Literal["fan_in", "fan_out"]]] = {
    "resnet50": ("conv1", "fc", "fan_out"),
    "densenet121": ("features.conv0", "classifier", "fan_in"),
}


class Torchvision(Network):
    """ResNet-50 or DenseNet-121 with torchvision's layers and initial weights, for any number of channels.

    A 7x7 stem of stride 2 and a maximum over 3x3 pixels of stride 2 come first: the last maps have 1/32 of
    the side.

    Source: torchvision; He et al., CVPR 2016 (ResNet-50, stride in the 3x3 convolution): 25.56 M parameters
    at 1000 classes; Huang et al., CVPR 2017 (DenseNet-121, k = 32): 7.98 M.
    """

    def __init__(self, name: Literal["resnet50", "densenet121"], classes: int, channels: int = 3):
        from torchvision import models

        super().__init__()
        stem, head, fan = _PARTS[name]
        self.body = getattr(models, name)(num_classes=classes)
        self.head = self.body.get_submodule(head)
        self.body.set_submodule(head, nn.Identity())
        if channels != 3:
            first = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
            nn.init.kaiming_normal_(first.weight, mode=fan, nonlinearity="relu")
            self.body.set_submodule(stem, first)
        if name == "resnet50":
            self.body.avgpool = nn.Sequential(self.maps, self.body.avgpool)

    def features(self, images: Tensor) -> Tensor:
        if not hasattr(self.body, "features"):
            return self.body(images)
        x = F.relu(self.body.features(images), inplace=True)  # as DenseNet's own forward ends
        return F.adaptive_avg_pool2d(self.maps(x), 1).flatten(1)
