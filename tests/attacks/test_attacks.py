"""Attacks against networks whose robust accuracy is known in closed form, and against what they promise of
each image.
"""

import math

import pytest
import torch
from torch import nn

from specfreq import attacks
from specfreq.attacks import base, gradient

EPS = 8 / 255
EVERY = {
    "fgsm": lambda f, x, y, eps, seeds: attacks.fgsm(f, x, y, eps),
    "pgd": lambda *asked: attacks.pgd(*asked, steps=10, restarts=2),
    "apgd-ce": lambda *asked: attacks.apgd(*asked, steps=30),
    "apgd-t": lambda *asked: attacks.apgd(*asked, steps=30, loss="dlr-targeted", targets=3),
    "square": lambda *asked: attacks.square(*asked, queries=300),
}


def linear(classes, scale=1.0, size=27, seed=0):
    """Logits W x + b of images (N, 3, 3, 3), centred: a robust accuracy is then a matter of norms."""
    g = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(size, classes))
    net[1].weight.data = scale * torch.randn(classes, size, generator=g)
    net[1].bias.data = -net[1].weight.data.sum(1) / 2
    return net


def images(net, count=200, low=0.3, high=0.7, seed=1):
    """Images far from 0 and 1, with the labels that the network gives them, and a seed for each."""
    x = torch.rand(count, 3, 3, 3, generator=torch.Generator().manual_seed(seed)) * (high - low) + low
    return x, net(x).argmax(1).detach(), torch.arange(count) * 1_000_003


def robust(net, x, y, eps):
    """Which images no change within eps can move: of each wrong class, the margin exceeds eps times the
    1-norm of w_y - w_j.
    """
    weight, logits = net[1].weight.detach(), net(x).detach()
    margin = logits.gather(1, y[:, None]) - logits
    reach = eps * (weight[y][:, None] - weight[None]).abs().sum(2)
    return ((margin > reach) | (torch.arange(len(weight)) == y[:, None])).all(1)


@pytest.mark.parametrize("name", ["fgsm", "pgd", "apgd-ce", "apgd-t"])
@pytest.mark.parametrize("eps", [0.0, 0.5 / 255, 2 / 255, 8 / 255, 20 / 255])
def test_of_two_classes_exactly_those_images_are_lost_that_can_be(name, eps):
    """The slope of a linear network is the same everywhere, so even one step is the best there is."""
    net = linear(2)
    x, y, seeds = images(net)
    found = EVERY[name](net, x, y, eps, seeds)
    assert torch.equal(net(found.images).argmax(1) == y, robust(net, x, y, eps))
    assert torch.equal(found.step < 0, robust(net, x, y, eps))


def test_targeted_apgd_finds_whichever_of_many_classes_is_in_reach():
    net, eps = linear(6), 3 / 255
    x, y, seeds = images(net)
    held = robust(net, x, y, eps)
    assert 0.2 < held.float().mean() < 0.8
    found = attacks.apgd(net, x, y, eps, seeds, steps=30, loss="dlr-targeted", targets=5)
    assert torch.equal(found.step < 0, held)
    fewer = attacks.apgd(net, x, y, eps, seeds, steps=30, loss="dlr-targeted", targets=1)
    assert (fewer.step < 0).sum() > held.sum() and not ((fewer.step > 0) & held).any()


def test_square_finds_most_of_what_there_is_without_a_slope():
    net = linear(2)
    x, y, seeds = images(net)
    with torch.inference_mode():
        found = attacks.square(net, x, y, EPS, seeds, queries=1000)
    held = robust(net, x, y, EPS)
    assert not ((found.step >= 0) & held).any()
    assert ((found.step >= 0) & ~held).sum() > 0.9 * (~held).sum()


@pytest.fixture(scope="module")
def curved():
    """A small network with curved answers, and images of which an attack at 8/255 loses some, some of them
    white and black.
    """
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(72, 5)).eval()
    net[3].weight.data *= 4
    return net, *images(net, 60, 0.0, 1.0)


@pytest.mark.parametrize("name", EVERY)
def test_what_is_found_is_inside_the_ball_and_the_box_and_as_wrong_as_said(curved, name):
    net, x, y, seeds = curved
    x = x.clone()
    x[:20] = x[:20].round()
    y = net(x).argmax(1).detach()
    found, step = EVERY[name](net, x, y, EPS, seeds)
    assert (found - x).abs().max() <= EPS + 1e-7 and found.min() >= 0 and found.max() <= 1
    assert torch.equal(net(found).argmax(1) != y, step >= 0)
    assert 0 < (step >= 0).sum() < 60
    assert not found.requires_grad and x.grad is None


@pytest.mark.parametrize("name", EVERY)
def test_an_image_is_attacked_alike_in_any_company(curved, name):
    """In float64, where rounding does not decide; the others are easier, harder, and elsewhere in the batch."""
    net, x, y, seeds = curved
    net, x = net.double(), x.double()
    together = EVERY[name](net, x, y, EPS, seeds)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(5))
    for part in (order[:7], order[7:40], order[40:]):
        alone = EVERY[name](net, x[part], y[part], EPS, seeds[part])
        assert torch.equal(alone.step, together.step[part])
        torch.testing.assert_close(alone.images, together.images[part], rtol=0, atol=1e-12)
    net.float()


@pytest.mark.parametrize("name", EVERY)
def test_no_change_allowed_is_no_change(curved, name):
    net, x, y, seeds = curved
    found, step = EVERY[name](net, x, y, 0.0, seeds)
    assert torch.equal(found, x) and (step == -1).all()


@pytest.mark.parametrize("name", ["pgd", "apgd-ce", "apgd-t", "square"])
def test_another_seed_is_another_attempt(curved, name):
    net, x, y, seeds = curved
    assert not torch.equal(
        EVERY[name](net, x, y, EPS, seeds).images, EVERY[name](net, x, y, EPS, seeds + 10**9).images
    )


def test_restarts_only_add():
    net = nn.Sequential(nn.Flatten(), nn.Linear(27, 40), nn.Tanh(), nn.Linear(40, 4))
    for layer in (net[1], net[3]):
        layer.weight.data = 3 * torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(4))
    x, y, seeds = images(net, 300)
    once, often = (attacks.pgd(net, x, y, 4 / 255, seeds, steps=3, restarts=n).step >= 0 for n in (1, 6))
    assert (often | ~once).all() and often.sum() > once.sum()


def test_a_confident_network_has_a_slope_all_the_same():
    """Its cross-entropy is 0 in float32, and so is the slope; these answers too can be moved."""
    net = linear(2, scale=100)
    x, y, _ = images(net)
    plain = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(gradient.cross_entropy(net(plain), y).sum(), plain)
    flat, eps = (slope == 0).flatten(1).all(1), 60 / 255
    assert flat.sum() > 20 and not robust(net, x, y, eps)[flat].all()
    assert torch.equal(attacks.fgsm(net, x, y, eps).step < 0, robust(net, x, y, eps))


def test_a_network_without_slope_is_not_harmed_by_following_it(curved):
    _, x, y, seeds = curved
    classes = torch.eye(5)

    def blind(images):
        return classes[y[: len(images)]] + 0 * images.detach().mean((1, 2, 3))[:, None]

    for name in ("fgsm", "apgd-ce"):
        assert (EVERY[name](blind, x, y, EPS, seeds).step == -1).all()


def test_the_scale_of_the_logits_does_not_matter_to_the_targeted_loss():
    logits = torch.tensor([[3.0, 1.0, 0.5, -1.0, -2.0]]).double()
    loss = gradient._loss(torch.tensor([1]))
    assert loss(logits, torch.tensor([0])) == pytest.approx((1 - 3) / (3 - (0.5 - 1) / 2))
    assert loss(1000 * logits, torch.tensor([0])) == pytest.approx(loss(logits, torch.tensor([0])))
    assert loss(logits[:, :3], torch.tensor([0])) == -2


def test_lengths_are_looked_at_where_the_paper_does():
    assert list(gradient._checkpoints(100))[:8] == [22, 41, 57, 70, 80, 87, 93, 99]


def test_lengths_are_halved_for_the_images_that_swing_about_and_for_no_others():
    """On a slope without end every step rises; in a narrow valley steps of 2 eps rise half of the time, until
    they are short.
    """
    seen = []

    def valley(x):
        seen.append(x.detach().clone())
        steep, narrow = x[:, 0, 0, 0], -1e3 * (x[:, 0, 0, 0] - 0.5) ** 2
        return torch.stack(
            [10 - torch.where(swings[: len(x)], narrow, steep), torch.zeros(len(x), dtype=x.dtype)], 1
        )

    swings = torch.tensor([True, False])
    x = torch.full((2, 1, 1, 1), 0.5, dtype=torch.float64)
    attacks.apgd(valley, x, torch.zeros(2, dtype=torch.int64), 0.1, torch.tensor([1, 2]), steps=100)
    swinging, climbing = torch.stack(seen)[:, :, 0, 0, 0].unbind(1)
    assert climbing[-1] == pytest.approx(0.6) and (climbing[5:] == climbing[-1]).all()
    assert (swinging[-1] - 0.5).abs() < 0.01 < (swinging[:10] - 0.5).abs().max()


class Cliffs(nn.Module):
    """Two classes, the first one always ahead: uphill on long ramps, each of which ends in a fall, and no end
    to an attack.
    """

    def __init__(self):
        super().__init__()
        self.shown = []
        self.direction = torch.randn(27, 1, generator=torch.Generator().manual_seed(7), dtype=torch.float64)

    def forward(self, images):
        self.shown.append(images.detach().clone())
        along = (images.flatten(1) @ self.direction)[:, 0]
        height = along - along.detach().floor()
        return torch.stack([5 + height, -height], 1)


def climbed_as_in_the_paper(net, clean, eps, begun, steps):
    """Algorithm 1 of the paper, for one image (1, 3, 3, 3): its places, and how often it goes back to the
    best.
    """

    def value_and_sign(x):
        x = x.clone().requires_grad_()
        value = nn.functional.cross_entropy(net(x), torch.tensor([0]))
        return float(value.detach()), torch.autograd.grad(value, x)[0].sign()

    def projected(x):
        return torch.minimum(torch.maximum(x, clean - eps), clean + eps).clamp(0, 1)

    shares = [0, 22]
    while shares[-1] <= 100:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 3, 6))
    checkpoints = [math.ceil(share * steps / 100) for share in shares if share <= 100]
    length, before, x, places, returns = 2 * eps, begun, begun, [begun], {"few rose": 0, "no better": 0}
    value, sign = value_and_sign(x)
    values, best = [value], (value, x, sign)
    looked, best_then, halved = 0, value, True
    for k in range(1, steps + 1):
        aim = projected(x + length * sign)
        new = aim if k == 1 else projected(x + 0.75 * (aim - x) + 0.25 * (x - before))
        before, x = x, new
        value, sign = value_and_sign(x)
        places.append(x)
        values.append(value)
        best = (value, x, sign) if value > best[0] else best
        if k in checkpoints[1:]:
            few = sum(values[i + 1] > values[i] for i in range(looked, k)) < 0.75 * (k - looked)
            same = not halved and best[0] == best_then
            returns["few rose"] += few
            returns["no better"] += same and not few
            halved = few or same
            if halved:
                length, (_, x, sign) = length / 2, best
            looked, best_then = k, best[0]
    return torch.cat(places), returns


def test_auto_pgd_goes_where_the_papers_algorithm_goes():
    net, eps, returns = Cliffs(), 0.1, {"few rose": 0, "no better": 0}
    x = torch.rand(8, 3, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for image in x.split(1):
        net.shown.clear()
        assert attacks.apgd(net, image, torch.tensor([0]), eps, torch.tensor([5]), steps=60).step == -1
        mine = torch.cat(net.shown)
        theirs, counts = climbed_as_in_the_paper(net, image, eps, mine[:1], 60)
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)
        returns = {why: n + counts[why] for why, n in returns.items()}
    assert min(returns.values()) > 0


def test_squares_change_one_square_to_other_corners_of_the_ball_and_shrink():
    """In the middle of the box all that is ever shown is a corner; the first has stripes from top to bottom."""
    shown, weight = (
        [],
        torch.randn(3, 10, 10, generator=torch.Generator().manual_seed(3), dtype=torch.float64),
    )

    def never_wrong(images):
        shown.append(images.clone())
        along = (images * weight).sum((1, 2, 3))
        return torch.stack([100 + along, -along], 1)

    clean = torch.full((1, 3, 10, 10), 0.5, dtype=torch.float64)
    attacks.square(never_wrong, clean, torch.tensor([0]), 0.125, torch.tensor([9]), queries=1000)
    corners = (torch.cat(shown) - clean) / 0.125
    assert len(corners) == 1001 and (corners.abs() - 1).abs().max() < 1e-12
    assert (corners[0] == corners[0, :, :1]).all() and len(corners[0, :, 0].unique()) == 2
    margins, best, sides = -2 * (corners * weight).sum((1, 2, 3)), 0, []
    for query in range(1, 1001):
        changed = (corners[query] - corners[best]).abs().amax(0).nonzero()
        sides.append(int((changed.amax(0) - changed.amin(0)).max()) + 1 if len(changed) else 0)
        best = query if margins[query] > margins[best] else best
    # sides of squares of 80, 40, 20, ... %
    published = {
        1: 9,
        5: 6,
        20: 4,
        50: 3,
        100: 2,
        200: 2,
        400: 1,
        1000: 1,
    }
    for (first, _), (last, side) in zip([(0, 0), *published.items()], published.items(), strict=False):
        assert max(sides[first:last]) <= side, (first, last)
    assert max(sides[20:50]) == 3 and margins[best] > 0.9 * 2 * weight.abs().sum()


@pytest.mark.parametrize(("schedule", "halved"), [("rescaled", [1, 2, 8, 20]), ("absolute", [10, 50, 200])])
def test_squares_shrink_after_shares_of_the_queries_or_after_fixed_ones(schedule, halved):
    """Of 400 queries: 0.1, 0.5, 2, 5 % of them, or query 10, 50, 200. Nothing is better, so each square
    starts anew.
    """
    shown = []

    def unmoved(images):
        shown.append(images.clone())
        return torch.tensor([[1.0, 0]]).expand(len(images), -1) + 0 * images.sum()

    clean = torch.full((1, 1, 40, 40), 0.5, dtype=torch.float64)
    attacks.square(unmoved, clean, torch.tensor([0]), 0.1, torch.tensor([3]), queries=400, schedule=schedule)
    # rows; of one channel half of the columns
    changed = (torch.cat(shown)[1:] != shown[0]).any(-1).flatten(1).sum(1)
    sides = [round((0.8 / 2**k * 1600) ** 0.5) for k in range(len(halved) + 1)]
    for side, first, last in zip(sides, [0, *halved], [*halved, None], strict=True):
        assert set(changed[first:last].tolist()) <= ({0, side} if last else set(range(side + 1))), (
            first,
            last,
        )
        assert side in changed[first:last]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", EVERY)
def test_an_answer_that_is_no_number_is_a_wrong_answer(name, value):
    """Nothing else is wrong with this network: it breaks where the first value is not that of the clean
    image.
    """
    x = torch.full((1, 3, 3, 3), 0.5)

    def breaks(images):
        logits = torch.stack([10 - images.sum((1, 2, 3)) / 9, images.sum((1, 2, 3)) / 9], 1)
        return torch.where((images[:, 0, 0, 0] != 0.5)[:, None], value, logits)

    found = EVERY[name](breaks, x, torch.tensor([0]), EPS, torch.tensor([7]))
    assert found.step >= 0 and not breaks(found.images).isfinite().all()


def test_one_broken_answer_leaves_the_others_alone():
    """In one batch: the slope and the loss of an image do not come from its neighbours."""
    net = linear(2)
    x, y, seeds = images(net, 20)
    sick = torch.arange(20) == 4
    x[4] = 0.9

    def breaks(images):
        return torch.where((images.mean((1, 2, 3)) > 0.8)[:, None], torch.nan, net(images))

    for name in EVERY:
        expected = EVERY[name](net, x[~sick], y[~sick], EPS, seeds[~sick])
        found = EVERY[name](breaks, x, y, EPS, seeds)
        assert torch.equal(found.step[~sick], expected.step) and found.step[4] >= 0
        torch.testing.assert_close(found.images[~sick], expected.images, rtol=0, atol=1e-6)


def test_a_place_outside_the_ball_goes_to_its_border_and_into_the_box():
    clean = torch.tensor([0.0, 0.5, 1.0, 1.2])
    assert base.inside(torch.tensor([-1.0, 0.9, 0.97, 1.15]), clean, 0.1).tolist() == pytest.approx(
        [0, 0.6, 0.97, 1]
    )
