"""Distances between sets of images: against closed forms, independent implementations and planted
differences.
"""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch.testing import assert_close

from specfreq import experiment
from specfreq.core.errors import UserError
from specfreq.core.randomness import keyed
from specfreq.evidence import intervals
from specfreq.studies.generators import features, fidelity, parts
from specfreq.studies.generators import runs as generators
from specfreq.studies.generators.features import Network


def gaussians(count: int, mean: np.ndarray, root: np.ndarray, *key: object) -> torch.Tensor:
    return torch.randn(count, len(mean), generator=keyed(*key), dtype=torch.float64) @ torch.tensor(
        root
    ).T + torch.tensor(mean)


@pytest.fixture(scope="module")
def planted():
    """Two Gaussians: means, and roots of their covariances."""
    random = np.random.RandomState(0)
    return [(random.randn(6), random.randn(6, 6)) for _ in range(2)]


def test_a_set_has_no_distance_from_itself():
    x = torch.randn(50, 8, generator=keyed(0))
    assert fidelity.fid(x, x) == pytest.approx(0, abs=1e-6)


def test_fid_is_the_matrix_formula_of_sample_moments(planted):
    x, y = (gaussians(300, *p, i) for i, p in enumerate(planted))
    root = scipy.linalg.sqrtm(np.cov(x.T) @ np.cov(y.T)).real
    expected = float((x.mean(0) - y.mean(0)).square().sum()) + np.trace(np.cov(x.T) + np.cov(y.T) - 2 * root)
    assert fidelity.fid(x, y) == pytest.approx(expected, rel=1e-6)


def test_fid_of_gaussians_tends_to_that_of_their_parameters(planted):
    (m, a), (n, b) = planted
    root = scipy.linalg.sqrtm(a @ a.T @ b @ b.T).real
    expected = np.sum((m - n) ** 2) + np.trace(a @ a.T + b @ b.T - 2 * root)
    x, y = (gaussians(100_000, *p, "many", i) for i, p in enumerate(planted))
    assert fidelity.fid(x, y) == pytest.approx(expected, rel=0.01)


def test_fid_moves_with_the_mean_by_its_square():
    x = torch.randn(200, 4, generator=keyed(0), dtype=torch.float64)
    assert fidelity.fid(x, x + 3) == pytest.approx(4 * 9, rel=1e-9)


def test_kid_is_unbiased():
    """Two samples of one distribution: the mean over many pairs is 0 within three standard errors; the biased
    one is not.
    """
    values, biased = [], []
    for i in range(200):
        x, y = (torch.randn(20, 5, generator=keyed(i, j), dtype=torch.float64) for j in range(2))
        values.append(fidelity.kid(x, y, blocks=1)[0])
        biased.append(kernel(x, x).mean() + kernel(y, y).mean() - 2 * kernel(x, y).mean())
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    assert abs(np.mean(values)) < 3 * error
    assert np.mean(biased) > 3 * error


def kernel(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def test_kid_of_one_block_is_the_formula():
    x, y = (
        torch.randn(30, 4, generator=keyed(0)).double(),
        torch.randn(30, 4, generator=keyed(1)).double() + 0.5,
    )
    off = ~torch.eye(30, dtype=torch.bool)
    expected = kernel(x, x)[off].mean() + kernel(y, y)[off].mean() - 2 * kernel(x, y).mean()
    assert fidelity.kid(x, y, blocks=1) == (pytest.approx(float(expected), rel=1e-9), None, None)


def test_the_interval_of_kid_covers_the_truth_about_as_often_as_it_says():
    """Features of one dimension with means 0 and 1: E k is a polynomial in moments of normal numbers."""
    normal, moved = {1: 0, 2: 1, 3: 0}, {1: 1, 2: 2, 3: 4}  # moments
    truth = sum(math.comb(3, k) * (normal[k] - moved[k]) ** 2 for k in (1, 2, 3))
    hits = 0
    for i in range(100):
        x, y = (
            torch.randn(200, 1, generator=keyed("cover", i, j), dtype=torch.float64) + j for j in range(2)
        )
        _, low, high = fidelity.kid(x, y, blocks=10)
        hits += low <= truth <= high
    assert 85 <= hits <= 100


def test_nothing_is_drawn_from_the_global_stream():
    x = torch.randn(40, 3, generator=keyed(0))
    torch.manual_seed(5)
    first = fidelity.kid(x, x + 1, blocks=2), torch.rand(1)
    torch.manual_seed(5)
    assert torch.rand(1) == first[1]
    assert fidelity.kid(x, x + 1, blocks=2) == first[0]


def test_too_few_images_are_refused():
    with pytest.raises(UserError, match="two images or more"):
        fidelity.fid(torch.zeros(1, 3), torch.zeros(5, 3))
    with pytest.raises(UserError, match="20 images or more"):
        fidelity.kid(torch.zeros(19, 3), torch.zeros(50, 3))


# -- networks ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory):
    """The published file's format, with random weights."""
    from torch_fidelity import feature_extractor_inceptionv3 as published

    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        torch.manual_seed(0)
        patch.setattr(published.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        patch.setattr(published, "load_state_dict_from_url", lambda *_, **__: {})
        weights = published.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]).state_dict()
    path = tmp_path_factory.mktemp("weights") / features.INCEPTION
    torch.save(weights, path)
    return path


def test_inception_reads_a_file_of_the_published_format_and_sees_bytes(inception_file, monkeypatch):
    import hashlib

    digest = hashlib.sha256(inception_file.read_bytes()).hexdigest()
    named = inception_file.with_name(features.INCEPTION.replace("6726825d", digest[:8]))
    inception_file.rename(named)
    monkeypatch.setattr(features, "INCEPTION", named.name)
    network = features.inception(named)
    images = torch.rand(2, 1, 32, 32, generator=keyed(0))
    with torch.inference_mode():
        found = network(images)
        assert found.shape == (2, 2048)
        assert_close(found, network((images * 255).round().expand(-1, 3, -1, -1) / 255))
    named.rename(inception_file)


def test_inception_refuses_other_weights_and_names_the_command_that_gets_them(inception_file, tmp_path):
    with pytest.raises(UserError, match="another file"):
        features.inception(inception_file)
    with pytest.raises(UserError, match=r"curl .*6726825d\.pth"):
        features.inception(tmp_path / features.INCEPTION)


def test_inception_executes_nothing_of_a_file(tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("executed").touch, ())

    torch.save({"fc.weight": Evil()}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="more than tensors"):
        features._extractor(tmp_path / "weights.pth")
    assert not (tmp_path / "executed").exists()


class Moments(torch.nn.Module):
    """Mean and root mean square of each quarter of an image."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pooled = [torch.nn.functional.adaptive_avg_pool2d(x, 2).flatten(1) for x in (images, images.square())]
        return torch.cat(pooled, 1)


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECFREQ_RUNS", str(tmp_path_factory.mktemp("runs")))
        recipe = generators.Recipe(
            data="digits", train_size=60, width=4, latent=5, batch=30, epochs=1, bands=2, parts="bands"
        )
        yield fidelity.Judge(recipe, Network("moments", "moments", Moments(), 1), 50, blocks=5, scales=4)


def test_real_images_are_no_distance_from_themselves_in_any_part(judge):
    found = judge.compare(judge.real)
    assert found["fid"] == pytest.approx(0, abs=1e-7)
    assert found["by_part"] == pytest.approx([0, 0, 0], abs=1e-7)
    assert found["names"] == ("band 1", "band 2", "residual")
    assert judge.spectra(judge.real) == {key: found[key] for key in ("power", "variation")}


def test_mixed_bands_keep_no_image_but_are_nearer_than_noise(judge):
    found = judge.of_real()
    noise = judge.compare(torch.rand(60, 1, 8, 8, generator=keyed(0)))
    assert 0 < found["mixed"]["fid"] < noise["fid"]
    assert found["unseen"]["fid"] < noise["fid"]


def test_spectra_of_a_wave_are_one_ring(judge):
    wave = (0.5 + 0.4 * torch.cos(2 * math.pi * torch.arange(8) * 2 / 8)).expand(3, 1, 8, 8)
    power = judge.spectra(wave)["power"]
    assert max(range(1, len(power)), key=power.__getitem__) == 2
    assert sum(judge.spectra(torch.full((2, 1, 8, 8), 0.3))["variation"]) == pytest.approx(0, abs=1e-6)


def test_rows_name_every_arm_and_are_computed_once(judge, monkeypatch):
    run = generators.run(judge.recipe)
    found = fidelity.rows(judge, [run])
    monkeypatch.setattr(judge, "compare", None)
    assert fidelity.rows(judge, [run]) == found
    assert [r["arm"] for r in found[::5]] == ["bands", fidelity.APART, fidelity.UNSEEN, fidelity.MIXED]
    assert [r["quantity"] for r in found[:5]] == [
        "FID",
        "KID x 1000",
        "FID, band 1",
        "FID, band 2",
        "FID, residual",
    ]
    shared, apart = (next(r for r in found if r["arm"] == arm) for arm in ("bands", "bands, latents apart"))
    assert shared["values"] != apart["values"]


def test_a_judge_with_other_bands_is_another(judge):
    recipe = judge.recipe.model_copy(update={"bands": 1})
    assert fidelity.Judge(recipe, judge.network, 50, blocks=5, scales=4).key() != judge.key()


def test_features_of_a_classifier_are_what_its_linear_layer_sees(tmp_path, monkeypatch):
    monkeypatch.setenv("SPECFREQ_RUNS", str(tmp_path))
    run = experiment.run(experiment.Experiment(data="digits", train_size=20, test_size=10, epochs=0, shift=0))
    network, images = features.trained(run), run.image_set("test").images[:4] / 255
    with torch.inference_mode():
        assert_close(run.classifier().net.head(network(images) * network.unit), run.classifier()(images))
        assert network(run.image_set("test").images / 255).square().mean().item() == pytest.approx(
            1, rel=1e-4
        )
        assert_close(network(images.expand(-1, 3, -1, -1)), network(images))
    assert parts.luminance(images.expand(-1, 3, -1, -1)).shape == images.shape


def test_the_dissertations_comparison_sees_generator_0_only(judge):
    fields = judge.recipe.model_dump() | {"parts": "flow", "bands": 3}
    run, never = (generators.run(generators.Recipe(**fields | {"epochs": epochs})) for epochs in (1, 0))
    found = fidelity.identity(
        judge, {"as trained": (run, False), "latents apart": (run, True), "never trained": (never, False)}
    )
    assert max(max(r["values"]) for r in found if r["quantity"] == "difference") < 1e-3
    for arm in ("as trained", "latents apart", "never trained"):
        before, after = (r["mean"] for r in found if r["arm"] == arm and r["quantity"].startswith("FID"))
        assert after == pytest.approx(before, rel=1e-4)
    lines = fidelity.told(found)
    assert [line["generators"] for line in lines] == ["as trained", "latents apart", "never trained"]
    largest = [max(r["values"]) for r in found if r["quantity"] == "difference"]
    shown = [line["largest difference (% of the range)"] for line in lines]
    assert shown == [intervals.scientific(value) for value in largest]
