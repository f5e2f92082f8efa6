"""Training generators: the same bits again, resumed or not, equal compute, and images that depend on their
latents alone.
"""

import math

import pytest
import torch
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from specfreq import tv
from specfreq.core import storage
from specfreq.core.errors import UserError
from specfreq.core.randomness import keyed
from specfreq.models.dcgan import Discriminator, Generator, draw
from specfreq.studies.generators import parts as components
from specfreq.studies.generators import runs as generators
from specfreq.studies.generators import training
from specfreq.studies.generators.parts import Parts
from specfreq.studies.generators.training import Recipe
from specfreq.train import Diverged
from specfreq.train.checkpoints import Checkpoints
from specfreq.train.loop import drive

SMALL = {"data": "digits", "train_size": 40, "width": 4, "latent": 5, "batch": 16, "epochs": 2, "bands": 2}


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A finished training of each kind, on digits of 8x8."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECFREQ_RUNS", str(tmp_path_factory.mktemp("runs")))
        recipes = generators.grid(**SMALL, parts=["image", "bands", "together", "flow"])
        yield {run.experiment.parts: run for run in generators.run_all(recipes)}


def fit(parts: torch.Tensor, recipe: Recipe, checkpoints=None, **options) -> training.Step:
    """A training on these parts, at its end."""
    channels, side = parts.shape[2:4]
    step = training.Step(training.networks(recipe, channels, side), parts, recipe, checkpoints)
    drive(step, recipe.epochs, checkpoints, **options)
    return step


def trained(parts: torch.Tensor, recipe: Recipe, **options) -> dict[str, torch.Tensor]:
    """All weights, averages and losses after a training on these parts."""
    step = fit(parts, recipe, **options)
    losses = [[row["discriminator"], row["generator"]] for row in step.history]
    return step.weights() | {"losses": torch.tensor(losses)}


@pytest.mark.parametrize(("parts", "stop"), [("bands", (0, 2)), ("bands", (1, 1)), ("together", (0, 1))])
def test_a_killed_training_resumes_to_the_same_bits(parts, stop, tmp_path):
    recipe = Recipe(**SMALL, parts=parts)
    images = components.prepared(recipe).ranged
    whole = trained(images, recipe)

    def kill(epoch, step):
        if (epoch, step) == stop:
            raise Killed

    with pytest.raises(Killed):
        trained(images, recipe, checkpoints=Checkpoints(tmp_path / "c.safetensors", 0), after_step=kill)
    resumed = trained(images, recipe, checkpoints=Checkpoints(tmp_path / "c.safetensors", 0))
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_another_seed_gives_other_weights_and_another_order():
    images = components.prepared(Recipe(**SMALL)).ranged
    one, other = (trained(images, Recipe(**SMALL | {"epochs": 1}, seed=seed)) for seed in (0, 1))
    assert not torch.equal(one["losses"], other["losses"])


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path):
    images = components.prepared(Recipe(**SMALL)).ranged
    checkpoints = Checkpoints(tmp_path / "c.safetensors", 0)
    trained(images, Recipe(**SMALL), checkpoints=checkpoints)
    with pytest.raises(UserError, match="another recipe"):
        trained(images, Recipe(**SMALL, lr=1e-3), checkpoints=checkpoints)


def test_a_loss_that_is_not_finite_stops_the_training_and_says_where():
    images = components.prepared(Recipe(**SMALL)).ranged
    with pytest.raises(
        Diverged, match=r"the loss is (nan|-?inf) in epoch 1, step [1-3] of 3, at lr 0.0002; lower lr"
    ):
        trained(images * math.nan, Recipe(**SMALL))


def test_the_average_of_decay_0_is_the_last_generator():
    images = components.prepared(Recipe(**SMALL)).ranged
    weights = trained(images, Recipe(**SMALL, ema=0))
    averages = {k: v for k, v in weights.items() if k.startswith("average/0.")}
    assert averages
    for name, value in averages.items():
        assert torch.equal(value, weights[name.replace("average/0.", "pairs/0.generator.")])


def test_averaged_generators_have_batch_statistics_of_their_own():
    """Means over batches of latents: those of the first normalisation depend on its convolution alone."""
    recipe = Recipe(**SMALL)
    average = fit(components.prepared(recipe).ranged, recipe).average
    unflatten, convolution, norm = list(average[0])[:3]
    draws = (keyed(recipe.seed, "statistics", i) for i in range(training.SETTLING))
    seen = [
        convolution(unflatten(torch.randn(recipe.batch, recipe.latent, generator=g))).double() for g in draws
    ]
    means = torch.stack([x.mean((0, 2, 3)) for x in seen]).mean(0)
    variances = torch.stack([x.var((0, 2, 3)) for x in seen]).mean(0)
    assert_close(norm.running_mean.double(), means, rtol=1e-5, atol=1e-6)
    assert_close(norm.running_var.double(), variances, rtol=1e-5, atol=1e-6)


def test_the_losses_of_one_step_are_those_of_the_paper():
    pair = training.networks(Recipe(**SMALL), 1, 8)[0]
    latent, real = torch.randn(6, 5, generator=keyed(0)), torch.rand(6, 1, 8, 8, generator=keyed(1)) * 2 - 1
    (made,), judged = training._judge([pair], latent, [real])
    says = [torch.sigmoid(pair.discriminator(images)).double() for images in (real, made)]
    assert_close(judged.double(), -(says[0].log().mean() + (1 - says[1]).log().mean()), rtol=1e-5, atol=0)
    fooled = training._fool([pair], [made])
    assert_close(fooled.double(), -says[1].log().mean(), rtol=1e-5, atol=0)
    fooled.backward()
    assert all(p.grad is None for p in pair.discriminator.parameters())
    assert all(p.grad is not None for p in pair.generator.parameters())


# -- networks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [8, 32, 64])
def test_a_generator_makes_the_images_that_its_discriminator_takes(side):
    images = Generator(7, 3, 4, side)(torch.randn(2, 7))
    assert images.shape == (2, 3, side, side)
    assert images.abs().max() <= 1
    assert Discriminator(3, 4, side)(images).shape == (2,)


def test_at_64_pixels_the_layers_are_those_of_the_paper():
    shapes = [
        tuple(m.weight.shape[:2])
        for m in Generator(100, 3, 128, 64)
        if isinstance(m, torch.nn.ConvTranspose2d)
    ]
    assert shapes == [(100, 1024), (1024, 512), (512, 256), (256, 128), (128, 3)]


def test_weights_are_drawn_as_in_the_paper():
    net = draw(Generator(100, 1, 32, 32), keyed(0))
    kernels = torch.cat([m.weight.flatten() for m in net if isinstance(m, torch.nn.ConvTranspose2d)])
    scales = torch.cat([m.weight for m in net if isinstance(m, torch.nn.BatchNorm2d)])
    assert kernels.mean().abs() < 1e-3
    assert kernels.std().item() == pytest.approx(0.02, rel=0.02)
    assert scales.mean().item() == pytest.approx(1, abs=0.01)
    assert scales.std().item() == pytest.approx(0.02, rel=0.3)


@pytest.mark.parametrize("parts", ["bands", "together", "flow"])
@pytest.mark.parametrize("side", [32, 64])
def test_every_arm_computes_as_much_as_the_single_generator(parts, side):
    recipe = Recipe(parts=parts, width=side)
    count, channels = training.layout(recipe, 1)
    ours = count * training.cost(100, channels, training.matched(recipe, 1, side), side)
    assert ours / training.cost(100, 1, side, side) == pytest.approx(1, abs=0.05)


def test_the_cost_of_a_step_is_what_torch_counts_while_it_is_taken():
    recipe = Recipe(**SMALL | {"train_size": 16, "epochs": 1}, parts="bands")
    images = components.prepared(recipe).ranged
    with FlopCounterMode(display=False) as counter:
        # statistics of averages are no part of a step
        trained(images, recipe.model_copy(update={"ema": 0.0}))
    expected = 3 * training.cost(5, 1, training.matched(recipe, 1, 8), 8)
    assert counter.get_total_flops() / 2 / 16 == pytest.approx(expected)


# -- parts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", ["image", "bands", "together", "flow"])
def test_parts_of_real_images_add_up_to_the_images(parts):
    recipe = Recipe(**SMALL, parts=parts)
    images = components.real(recipe)
    assert_close(components.sum_up(components.split_up(images, recipe), recipe), images, rtol=0, atol=2e-6)


def test_bands_are_those_of_the_transform():
    recipe = Recipe(**SMALL, parts="bands")
    images = components.real(recipe)
    found = tv.transform(images, 2, recipe.dt)
    assert_close(components.split_up(images, recipe), torch.stack([*found.phi, found.residual]))


def test_one_value_in_a_thousand_lies_beyond_the_range_of_a_part():
    values = torch.randn(1, 100, 1, 20, 20, generator=keyed(0))
    scale = values.abs().quantile(0.999).view(1)
    parts = Parts(("x",), values, torch.zeros(1), scale)
    assert (parts.ranged.abs() == 1).double().mean().item() == pytest.approx(1e-3, rel=0.1)
    beyond = (values.abs() - scale).clamp(min=0).double().square().mean().sqrt().item()
    assert parts.lost[0] == pytest.approx(beyond, rel=1e-4)


def test_the_dissertations_reconstruction_is_u_0_whatever_the_other_images_are():
    flow = torch.rand(4, 10, 1, 8, 8, generator=keyed(0))
    for bands in (1, 2):
        assert_close(components.recomposed(flow, bands), flow[0], rtol=0, atol=2e-6)


def test_the_reconstruction_of_trained_generators_is_the_output_of_the_first(runs):
    for apart in (False, True):
        made = runs["flow"].parts(runs["flow"].latents(20, apart=apart))
        assert_close(components.recomposed(made, 1), made[0], rtol=0, atol=1e-6)
        assert (made[1] - made[0]).abs().max() > 1e-3


# -- runs ----------------------------------------------------------------------------------------------------


def test_an_image_depends_on_its_latent_alone(runs):
    for run in runs.values():
        few, many = run.images(run.latents(3)), run.images(run.latents(250))
        assert torch.equal(many[:3], few)
        assert torch.equal(run.images([z[2:3] for z in run.latents(3)])[0], few[2])


def test_generators_share_their_latents_unless_they_are_apart(runs):
    shared, apart = (runs["bands"].latents(4, apart=apart) for apart in (False, True))
    assert all(torch.equal(z, shared[0]) for z in shared)
    assert len({z.sum().item() for z in apart}) == 3


def test_latents_are_standard_normal():
    z = generators.latents(2000, 50, 0)
    assert z.mean().abs() < 0.01
    assert z.std().item() == pytest.approx(1, abs=0.01)
    assert (torch.corrcoef(z.T) - torch.eye(50)).abs().max() < 0.12


def test_a_walk_ends_at_its_latents_and_keeps_their_length():
    first, last = generators.latents(6, 400, 1).split(3)
    way = generators.between(first, last, 5)
    assert_close(way[:, 0], first)
    assert_close(way[:, -1], last)
    assert_close(way.norm(dim=-1), torch.full((3, 5), 20.0), rtol=0.12, atol=0)


def test_images_of_a_run_are_the_sum_of_its_parts_within_range(runs):
    for which in ("bands", "together"):
        made = runs[which].parts(runs[which].latents(5))
        assert made.shape == (3, 5, 1, 8, 8)
        assert_close(runs[which].images(runs[which].latents(5)), made.sum(0).clamp(0, 1))


def test_what_was_trained_once_is_not_trained_again(runs, monkeypatch):
    run = runs["bands"]
    monkeypatch.setenv("SPECFREQ_RUNS", str(run.path.parent.parent))
    before = (run.path / "model.safetensors").stat().st_mtime_ns
    assert generators.run(run.experiment).key == run.key
    assert (run.path / "model.safetensors").stat().st_mtime_ns == before
    assert len(run.history) == 2
    assert sorted(p.name for p in (run.path / "samples").iterdir()) == ["epoch-0001.png", "epoch-0002.png"]
    assert run.provenance["compute"] == pytest.approx(1, abs=0.5)


def test_a_damaged_model_is_refused_by_name(runs, tmp_path):
    import shutil

    copy = shutil.copytree(runs["image"].path, tmp_path / runs["image"].key)
    file = copy / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(storage.Damaged, match=r"model\.safetensors"):
        generators.Run(copy).images(torch.zeros(1, 5))


def test_an_edited_recipe_is_noticed(runs, tmp_path):
    import shutil

    copy = shutil.copytree(runs["image"].path, tmp_path / runs["image"].key)
    storage.write_json(copy / "recipe.json", storage.read_json(copy / "recipe.json") | {"lr": 0.001})
    with pytest.raises(storage.Damaged, match=f"holds another run than {copy.name}"):
        generators.Run(copy)


def test_the_key_leaves_out_what_has_no_effect():
    assert generators.key_of(Recipe(**SMALL)) == generators.key_of(Recipe(**SMALL | {"bands": 7}))
    assert generators.key_of(Recipe(**SMALL, parts="bands")) != generators.key_of(
        Recipe(**SMALL | {"bands": 7}, parts="bands")
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epohcs": 3}, "did you mean 'epochs'"),
        ({"lr": 0}, "lr=0 is refused"),
        ({"bands": 0}, "bands=0 is refused"),
        ({"parts": "band"}, "parts='band' is refused"),
        ({"data": "phtos"}, "did you mean 'photos'"),
    ],
)
def test_what_no_recipe_has_is_refused(fields, message):
    with pytest.raises(UserError, match=message):
        Recipe(**fields)


def test_images_that_no_dcgan_makes_are_refused_before_any_work(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path / "runs"))
    for name, size, message in [
        ("odd", (12, 12), "8, 16, 32, 64 or 128"),
        ("wide", (32, 16), "make squares"),
    ]:
        for i in range(5):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("RGB", size).save(tmp_path / name / f"{i}.png")
        with pytest.raises(UserError, match=message):
            generators.run(Recipe(data=f"folder:{tmp_path / name}"))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_record_holds_pictures_to_the_byte(channels):
    images = torch.rand(2, 3, channels, 8, 8, generator=keyed(0))
    kept = generators.packed(images)
    assert_close(generators.unpacked(kept), (images * 255).round() / 255)
    assert len(generators.unpacked({})) == 0
