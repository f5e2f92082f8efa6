"""Networks in whose features images are compared: classifiers trained here, and the Inception that FID was
defined with.
"""

import hashlib
import io
from pathlib import Path

import torch
from torch import Tensor, nn

from specfreq import data
from specfreq.core.devices import checked_device
from specfreq.core.errors import UserError
from specfreq.core.images import luminance
from specfreq.experiment.runs import Run
from specfreq.measures.inference import evaluate
from specfreq.models.classifier import Classifier

INCEPTION = (
    "weights-inception-2015-12-05-6726825d.pth"  # the name ends in the first digits of the content's SHA-256
)
INCEPTION_URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION}"


class Network(nn.Module):
    """Whose features count: images (N, 1 or 3, H, W) in [0, 1] -> (N, D). Grey images are shown in as many
    channels as it takes.

    Args:
        name: what a page calls it.
        key: what identifies its features: the run's key, or the digest of the weights.
        of: the network itself.
        channels: how many it takes.
        unit: what its features are divided by.
    """

    def __init__(self, name: str, key: str, of: nn.Module, channels: int = 3, unit: float = 1.0):
        super().__init__()
        self.name, self.key, self.of, self.channels, self.unit = name, key, of, channels, unit

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1] != self.channels:
            images = luminance(images) if self.channels == 1 else images.expand(-1, self.channels, -1, -1)
        return self.of(images) / self.unit


class _Penultimate(nn.Module):
    def __init__(self, classifier: Classifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier.features(images)


class _Inception(nn.Module):
    """torch-fidelity's port of the network by which FID was defined: bytes -> 2048 features."""

    def __init__(self, extractor: nn.Module):
        super().__init__()
        self.extractor = extractor

    def forward(self, images: Tensor) -> Tensor:
        return self.extractor((images.clamp(0, 1) * 255).round().byte())[0]


def trained(run: Run, device: str | None = None) -> Network:
    """The features that a classifier of ours has learned: what its linear layer sees, of mean square 1 over
    its test images.

    (KID's kernel is a polynomial: on features of another size it is another distance.)
    """
    name = f"{run.experiment.model}, trained on {run.experiment.data}"
    network = Network(
        name, run.key, _Penultimate(run.classifier(device=device)), run.image_set("train").shape[0]
    ).eval()
    network.unit = float(evaluate(network, run.image_set("test")).double().square().mean().sqrt())
    return network


def inception(path: Path | None = None, device: str | None = None) -> Network:
    """Inception-v3 as FID was defined with, its weights read from a file without executing anything of it.

    Args:
        path: the file; `INCEPTION` below `data.root()` if not given.
        device: where it runs.

    Raises:
        UserError: the file is missing (names the command that gets it) or is not that file.

    Source: Heusel et al., NeurIPS 2017; Obukhov et al., torch-fidelity.
    """
    path = path or data.root() / INCEPTION
    if not path.is_file():
        raise UserError(
            f"{path} is missing; get it with `curl -L -o '{path}' {INCEPTION_URL}`, or judge by a network "
            "trained here"
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if not digest.startswith(INCEPTION[-12:-4]):
        raise UserError(
            f"{path} is damaged or another file: its SHA-256 begins with {digest[:8]}; delete it and get it "
            "again"
        )
    return Network(
        "Inception-v3", digest[:16], _Inception(_extractor(path)).to(checked_device(device))
    ).eval()


def _extractor(path: Path) -> nn.Module:
    """torch-fidelity's network with these weights. It would unpickle whatever the file holds, so it gets a
    copy of the tensors.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle raises what it likes
        raise UserError(
            f"{path} holds more than tensors, or is damaged ({type(error).__name__}); delete it and get it "
            "again"
        ) from None
    copy = io.BytesIO()
    torch.save(weights, copy)
    copy.seek(0)
    return FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], copy)
