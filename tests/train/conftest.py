"""Images that are learned within seconds."""

import pytest
import torch


@pytest.fixture(scope="session")
def striped():
    """90 images (90, 2, 12, 12), bytes, of three classes: stripes of three widths under noise; and labels."""

    def make(contrast, noise):
        g = torch.Generator().manual_seed(0)
        labels = torch.arange(90) % 3
        stripes = torch.sin(torch.arange(12)[None, :] * (labels[:, None] + 1) * 0.7)
        x = 0.5 + contrast * stripes[:, None, None, :].expand(-1, 2, 12, -1)
        x = x + noise * torch.randn(90, 2, 12, 12, generator=g)
        return (x.clamp(0, 1) * 255).to(torch.uint8), labels

    return make
