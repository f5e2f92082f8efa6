"""Feature discrimination: scatter by its definition, its invariances, and features whose answer is known."""

import copy

import numpy as np
import pytest
import torch
from scipy.stats import f_oneway, gaussian_kde, ortho_group

from specfreq import fourier, models
from specfreq.core.errors import UserError
from specfreq.core.images import unit
from specfreq.measures import compute
from specfreq.measures.discrimination import Sums, curves

LABELS = torch.arange(300) % 7 % 4


def scatter(features, labels=LABELS, classes=4, part=300):
    sums = Sums(classes)
    for z, y in zip(features.split(part), labels.split(part), strict=True):
        sums.add(z, y)
    return sums.scatter()


def by_definition(features, labels):
    """Traces of the scatter matrices, written out."""
    z, mean = features.double(), features.double().mean(0)
    between = within = torch.zeros(z.shape[1], z.shape[1], dtype=torch.float64)
    for c in labels.unique():
        own = z[labels == c]
        gap = own.mean(0) - mean
        between = between + len(own) / len(z) * gap.outer(gap)
        within = within + (own - own.mean(0)).T @ (own - own.mean(0)) / len(z)
    return between.trace(), within.trace(), between.trace() / within.trace()


@pytest.fixture
def features():
    g = torch.Generator().manual_seed(0)
    return torch.randn(300, 6, generator=g) + torch.randn(4, 6, generator=g)[LABELS] + 3


def test_scatter_is_that_of_its_definition_in_any_parts(features):
    for part in (300, 7, 1):
        torch.testing.assert_close(tuple(scatter(features, part=part)), by_definition(features, LABELS))


def test_the_parts_add_up_to_the_variance_of_all(features):
    found = scatter(features)
    torch.testing.assert_close(found.between + found.within, features.double().var(0, correction=0).sum())


def test_of_one_feature_the_ratio_is_that_of_the_analysis_of_variance(features):
    one = features[:, :1].double()
    statistic = f_oneway(*(one[c == LABELS, 0].numpy() for c in range(4))).statistic
    assert float(scatter(one).fisher) == pytest.approx(statistic * (4 - 1) / (300 - 4), rel=1e-10)


def test_rotation_and_shift_change_nothing_and_scaling_not_the_ratio(features):
    rotation, found = torch.from_numpy(ortho_group.rvs(6, random_state=0)), scatter(features)
    torch.testing.assert_close(tuple(scatter(features.double() @ rotation - 17)), tuple(found))
    scaled = scatter(5 * features)
    torch.testing.assert_close(scaled.fisher, found.fisher)
    torch.testing.assert_close(scaled.within, 25 * found.within)


def test_a_large_common_offset_costs_no_digits(features):
    integers = (features * 100).round()
    torch.testing.assert_close(scatter(integers + 2.0**20).fisher, scatter(integers).fisher)


def test_features_that_know_no_class_have_the_ratio_of_chance():
    z = torch.randn(300, 2000, generator=torch.Generator().manual_seed(1))
    assert float(scatter(z).fisher) == pytest.approx((4 - 1) / (300 - 4), rel=0.1)


def test_planted_features_are_found(known):
    """Class means at ±3 on one axis, each feature ±1 beside its mean on another: 9 between, 1 within."""
    labels = torch.arange(40) % 2
    features = torch.stack([6.0 * labels - 3, 2.0 * (torch.arange(40) // 2 % 2) - 1, torch.zeros(40)], 1)
    model, images = known(features, labels, weight=torch.tensor([[-1.0, 0, 0], [1, 0, 0]]))
    result = compute("feature-discrimination:radii=1+2", model, images)
    assert (result["between"], result["within"], result["fisher"], result["accuracy"]) == (9, 1, 9, 100)
    # images of one pixel: a low pass keeps all of them, a high pass nothing but the mean
    assert (result["low_between"], result["low_fisher"], result["low_accuracy"]) == (
        [9, 9],
        [9, 9],
        [100, 100],
    )
    assert (result["high_between"], result["high_fisher"], result["high_accuracy"]) == (
        [0, 0],
        [None, None],
        [50, 50],
    )
    assert (result["fisher_chance"], result["chance"], result["images"]) == (1 / 38, 50, 40)


@pytest.mark.parametrize("level", ["set", "zero"])
def test_each_band_has_the_features_and_the_accuracy_of_its_filtered_images(digits, level):
    model, images = digits
    result, x = compute("feature-discrimination", model, images, level=level), unit(images.images)
    grey = x.mean() if level == "set" else 0
    assert result["radii"] == [1, 2, 3, 4]  # eighths of 8 pixels; of 32 they are the paper's 4, 8, 12, 16
    views = {"": x}
    for radius in result["radii"]:
        views |= {
            ("low_", radius): fourier.low_pass(x, radius),
            ("high_", radius): fourier.high_pass(x, radius) + grey,
        }
    for place, view in views.items():
        with torch.no_grad():
            right = (model(view).argmax(1) == images.labels).double().mean()
            expected = [*by_definition(model.features(view), images.labels), 100 * right]
        for key, value in zip(("between", "within", "fisher", "accuracy"), expected, strict=True):
            found = result[place[0] + key][result["radii"].index(place[1])] if place else result[key]
            assert found == pytest.approx(float(value), rel=1e-4), (place, key)


def test_curves_are_the_kernel_densities_along_the_direction_of_the_classes(features):
    """The direction by NumPy's eigenvectors, the densities by SciPy's estimate; each view by the first one's."""
    z, counts = features.double(), torch.bincount(LABELS).double()
    found = curves(torch.stack([z, z / 2], 1), LABELS, counts, 64)
    centred = (z - z.mean(0)).numpy()
    means = np.stack([centred[c == LABELS].mean(0) for c in range(4)])
    _, vectors = np.linalg.eigh((means * counts[:, None].numpy() / 300).T @ means)
    along = centred @ vectors[:, -1]
    within = np.sqrt(np.mean((along - (means @ vectors[:, -1])[LABELS]) ** 2))
    for sign in (1, -1):
        expected = [
            gaussian_kde(sign * along[c == LABELS], within * 75**-0.2 / along[c == LABELS].std(ddof=1))(
                found.axis
            )
            for c in range(4)
        ]
        if np.abs(found.densities[0].numpy() - np.stack(expected)).max() < 1e-9:
            break
    else:
        pytest.fail("neither direction has these densities")
    area = torch.trapezoid(found.densities, found.axis)
    torch.testing.assert_close(area, torch.ones_like(area), rtol=0.01, atol=0)
    spread = (found.densities > 1e-3).sum(-1)
    assert (spread[1] < spread[0]).all(), "half as wide"


def test_curves_of_equal_features_are_one_bump_and_of_no_images_nothing():
    found = curves(torch.ones(6, 1, 3).double(), torch.tensor([0, 1] * 3), torch.tensor([3.0, 3, 0]), 33)
    assert found.densities.isfinite().all() and not found.densities[0, 2].any()
    torch.testing.assert_close(found.densities[0, 0], found.densities[0, 1])


def test_equal_features_have_no_ratio():
    noise = torch.randn(300, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z = 0.1 + 1e-9 * noise
    assert scatter(z).fisher.isnan()
    assert not scatter(z - 0.1).fisher.isnan()


class Plain(torch.nn.Module):
    """The network of a classifier, by no name that we know: `temperature` after its last layer hides that it
    gives the logits.
    """

    def __init__(self, classifier, temperature=None):
        super().__init__()
        self.body, self.last, self.temperature = classifier, classifier.net.head, temperature

    def forward(self, images):
        logits = self.body(images)
        return logits if self.temperature is None else logits / self.temperature


def test_the_last_linear_layer_of_any_network_is_found_or_named(digits):
    model, images = copy.deepcopy(digits)
    ours = compute("feature-discrimination:radii=2", model, images)
    assert compute("feature-discrimination:radii=2", torch.nn.Sequential(model), images) == ours
    assert compute("feature-discrimination:radii=2", Plain(model), images) == ours
    hidden = Plain(model, temperature=2.0)
    with pytest.raises(
        UserError, match=r"none of this network does; write layer=NAME for one of body.net.head \(64 -> 10\)"
    ):
        compute("feature-discrimination", hidden, images)
    assert compute("feature-discrimination:radii=2,layer=last", hidden, images) == ours
    with pytest.raises(
        UserError, match=r"unknown layer 'lst' for feature-discrimination; known: body\.net\.head"
    ):
        compute("feature-discrimination:layer=lst", hidden, images)
    with pytest.raises(
        UserError, match=r"layer=body\.net\.stem sees 1x8x8 numbers for each image, not one row"
    ):
        compute("feature-discrimination:layer=body.net.stem", hidden, images)


def test_a_network_without_a_linear_layer_is_refused(known):
    _, images = known(torch.eye(2), [0, 1])
    bare = models.Classifier(torch.nn.Flatten(), torch.zeros(1), torch.ones(1))
    with pytest.raises(
        UserError, match=r"needs the linear layer that gives the logits, .*; it has no linear layer"
    ):
        compute("feature-discrimination", bare, images)
