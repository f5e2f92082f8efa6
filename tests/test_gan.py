"""Training generators: the same bits again, resumed or not, and what the parts of a recipe mean."""

import pytest
import torch
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from specfreq import gan, generation, tv
from specfreq.checkpoints import Checkpoints
from specfreq.gan import Recipe
from specfreq.models.dcgan import Discriminator, Generator, draw, stages
from specfreq.naming import UserError
from specfreq.randomness import keyed
from specfreq.train import Diverged

SMALL = {"data": "digits", "train_size": 40, "width": 4, "latent": 5, "batch": 16, "epochs": 2, "bands": 2}


class Killed(Exception):
    pass


@pytest.fixture(autouse=True)
def _runs(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path))


def trained(parts: torch.Tensor, recipe: Recipe, **options) -> dict[str, torch.Tensor]:
    """All weights and averages after a training on these parts."""
    channels, side = parts.shape[2:4]
    pairs = gan.networks(recipe, channels, side)
    average = torch.nn.ModuleList(p.generator for p in gan.networks(recipe, channels, side)).requires_grad_(False)
    history = gan.fit(pairs, average, parts, recipe, **options)
    weights = {f"pairs/{k}": v for k, v in pairs.state_dict().items()} | average.state_dict()
    return weights | {"history": torch.tensor([[row["discriminator"], row["generator"]] for row in history])}


@pytest.mark.parametrize("parts", ["bands", "together"])
@pytest.mark.parametrize("stop", [(0, 2), (1, 1)])
def test_a_killed_training_resumes_to_the_same_bits(parts, stop, tmp_path):
    recipe = Recipe(**SMALL, parts=parts)
    images = generation.prepared(recipe).ranged
    whole = trained(images, recipe)

    def kill(epoch, step):
        if (epoch, step) == stop:
            raise Killed

    with pytest.raises(Killed):
        trained(images, recipe, checkpoints=Checkpoints(tmp_path / "c.safetensors", 0), after_step=kill)
    resumed = trained(images, recipe, checkpoints=Checkpoints(tmp_path / "c.safetensors", 0))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert len(whole) == len(resumed)
