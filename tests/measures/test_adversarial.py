"""The adversarial measure against closed forms, and against networks that only seem to be robust."""

import pytest
import torch
from torch import nn

from specfreq import ImageSet, attacks
from specfreq.attacks import Attacked
from specfreq.core.errors import UserError
from specfreq.measures import compute, normal_form
from specfreq.measures.adversarial import adversarial
from specfreq.measures.answers import EACH

QUICK = "adversarial:apgd_steps=10,targets=2,queries=60,steps=10"


class Linear(nn.Module):
    """Two classes by one direction w: logits 0 and w . (x - 1/2), so that |w . (x - 1/2)| / |w|_1 is how far
    answers are safe.
    """

    def __init__(self, seed=0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(48, generator=torch.Generator().manual_seed(seed)))

    def along(self, x):
        return (x.flatten(1) - 0.5) @ self.weight

    def forward(self, x):
        along = self.along(x)
        return torch.stack([torch.zeros_like(along), along], 1)

    def reach(self, x):
        return (self.along(x).abs() / self.weight.abs().sum()).detach()


@pytest.fixture(scope="module")
def pixels():
    """Images as bytes, of values between 80 and 175: a change of 64 keeps them inside 0 .. 255."""
    return torch.randint(
        80, 176, (120, 3, 4, 4), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
    )


def of(net, pixels, wrong=0):
    """The images with the labels the network gives them, but for some that it gets wrong."""
    labels = net(pixels.float() / 255).argmax(1)
    labels[:wrong] = 1 - labels[:wrong]
    return ImageSet(pixels, labels, ("low", "high"), "planted")


def test_of_a_linear_network_every_number_is_that_of_the_closed_form(pixels):
    net = Linear().eval()
    images, radii = of(net, pixels, wrong=12), [0.5, 1, 2, 4, 8, 16]
    result = compute("adversarial:eps=4,curve=0.5+1+2+8+16,queries=50,apgd_steps=10", net, images)
    reach = 255 * net.reach(pixels.float() / 255)[12:]
    exact = [100 * float((reach > eps).sum()) / 120 for eps in radii]
    assert result["curve_eps"] == radii and result["curve_accuracy"] == pytest.approx(exact)
    assert len({*exact}) == 6
    assert result["accuracy"] == pytest.approx(90)
    assert result["alone"] == [pytest.approx(exact[3])] * 2 + [None] * 3
    assert result["after"] == [pytest.approx(exact[3])] * 5 and result["robust"] == result["after"][-1]
    assert result["robust"] < result["noise_accuracy"] <= 90
    assert result["attacked_loss"] > result["clean_loss"] > 0
    assert result["zero_gradients"] == result["late"] == 0 and result["masked"] == []


def test_no_change_allowed_is_the_accuracy(pixels):
    images = of(Linear(), pixels, wrong=30)
    result = compute(QUICK + ",eps=0,curve=0", Linear(), images)
    assert [
        result["accuracy"],
        result["robust"],
        result["noise_accuracy"],
        *result["after"],
        *result["curve_accuracy"],
    ] == [75] * 9
    assert result["attacked_loss"] == pytest.approx(result["clean_loss"]) and result["curve_eps"] == [0]


def test_attacks_are_made_in_their_order_and_only_those_that_are_asked_for(pixels):
    images = of(Linear(), pixels)
    result = compute("adversarial:attacks=square+fgsm,queries=20,curve=8", Linear(), images)
    assert result["attacks"] == ["fgsm", "square"] and len(result["after"]) == 2 and result["late"] is None
    assert result["alone"] == [result["after"][0], None]
    assert (
        normal_form("adversarial:attacks=square+apgd-t+apgd-ce+pgd+fgsm,curve=64+32+16+8+4+2,eps=8.0")
        == "adversarial"
    )
    with pytest.raises(UserError, match="unknown attack 'fgms'; did you mean 'fgsm'"):
        normal_form("adversarial:attacks=fgms")
    with pytest.raises(UserError, match=r"counted in 255ths; for 0.03 of .* write 7.65"):
        normal_form("adversarial:eps=0.03")


class Quantised(Linear):
    """Sees 5 levels of every value: no slope anywhere, and no more robust than it was."""

    def along(self, x):
        return super().along((x * 4).round() / 4)


class Shattered(Linear):
    """A ripple too small to change an answer, whose slope drowns that of the answer."""

    def along(self, x):
        return super().along(x) + 1e-3 * torch.sin(1e5 * x.double()).sum((1, 2, 3)).float()


class Hopping(Linear):
    """Wrong nearly everywhere around an image, but right again one whole eps along the slope."""

    def forward(self, x):
        right = torch.cos(2 * torch.pi * 255 / 8 * (x[:, 0, 0, 0] - 100 / 255) + 0.7)
        return torch.stack([right, torch.zeros_like(right)], 1)


def test_a_network_without_slopes_is_found_out(pixels):
    result = compute(QUICK, Quantised(), of(Quantised(), pixels))
    assert result["zero_gradients"] == 100
    assert {"gradient", "black-box", "growing-eps"} <= {*result["masked"]}
    assert result["alone"][0] == 100 > result["robust"]


def test_a_network_whose_slopes_lead_nowhere_is_found_out(pixels):
    result = compute(QUICK + ",size=100", Shattered(), of(Shattered(), pixels))
    honest = compute(QUICK + ",size=100", Linear(), of(Linear(), pixels))
    assert result["zero_gradients"] == 0
    assert {"black-box", "growing-eps"} <= {*result["masked"]}
    assert honest["robust"] < result["alone"][1] and honest["masked"] == []


def test_what_only_single_steps_cannot_harm_shows_in_the_accuracies_alone():
    """Catastrophic overfitting: the last value of the step is right, and nothing before it."""
    pixels = torch.full((20, 3, 4, 4), 100, dtype=torch.uint8)
    images = ImageSet(pixels, torch.zeros(20, dtype=torch.int64), ("low", "high"), "planted")
    fgsm, pgd, *_ = compute(QUICK, Hopping(), images)["alone"]
    assert (fgsm, pgd) == (100, 0)


def test_squares_that_find_more_than_one_step_did_are_no_sign_of_hidden_gradients(digits):
    """Many steps find as much as they do."""
    reasons = {}
    for names in ("fgsm+square", "fgsm+pgd+square"):
        result = compute(f"adversarial:attacks={names},eps=24,queries=200,curve=24", *digits)
        reasons[names] = result["masked"]
        if names == "fgsm+square":
            assert result["after"][0] - result["after"][1] > 5
    assert reasons == {"fgsm+square": [], "fgsm+pgd+square": []}


def test_whole_numbers_of_eps_are_as_good_as_any(pixels):
    """Called by itself, where no description has been read."""
    net, options = Linear(), {"attacks": "fgsm+pgd", "steps": 2, "curve": (2, 4.0)}
    whole, real = (adversarial(net, of(net, pixels), eps=eps, **options) for eps in (4, 4.0))
    each, same = whole.pop(EACH), real.pop(EACH)
    assert whole == real and all(torch.equal(each[name], same[name]) for name in each)


class Fragile(Linear):
    """Right on every image, and without an answer for any that is not a picture of whole bytes."""

    def forward(self, x):
        whole = ((255 * x - (255 * x).round()).abs() < 1e-3).flatten(1).all(1)
        return torch.where(whole[:, None], super().forward(x), torch.nan)


def test_an_answer_without_numbers_to_an_attack_is_a_wrong_one(pixels):
    images = of(Linear(), pixels)
    result = compute(QUICK + ",eps=1.5,curve=1.5", Fragile(), images)
    assert result["accuracy"] == 100
    assert [result["robust"], result["noise_accuracy"], *result["after"], *result["curve_accuracy"]] == [
        0
    ] * 8
    assert result["attacked_loss"] is None and result["clean_loss"] > 0


def test_an_answer_without_numbers_to_an_image_as_it_is_names_it(pixels):
    images = of(Linear(), pixels)

    class Sick(Linear):
        def forward(self, x):
            sick = (x == pixels[17] / 255).flatten(1).all(1)
            return torch.where(sick[:, None], torch.inf, super().forward(x))

    with pytest.raises(UserError, match=r"images of planted with NaN or infinity \(image 17\)"):
        compute(QUICK, Sick(), images, batch=len(images))
    with pytest.raises(UserError, match=r"\(image 17\)"):
        compute("accuracy", Sick(), images)


def test_the_schedule_of_the_squares_is_an_option_and_the_rescaled_one_the_default(pixels):
    assert normal_form("adversarial:schedule=rescaled") == "adversarial"
    assert normal_form("adversarial:schedule=absolute") == "adversarial:schedule=absolute"
    with pytest.raises(UserError, match="schedule"):
        normal_form("adversarial:schedule=autoattack")


def test_an_attack_that_leaves_the_ball_is_no_result(pixels, monkeypatch):
    def far(model, images, labels, eps):
        return Attacked((images + 2 * eps).clamp(0, 1), torch.ones_like(labels))

    monkeypatch.setattr(attacks, "fgsm", far)
    with pytest.raises(RuntimeError, match="fgsm left the ball of 8/255"):
        compute("adversarial:attacks=fgsm", Linear(), of(Linear(), pixels))


def test_what_an_attack_says_is_not_believed_before_the_network_has_erred_again(pixels, monkeypatch):
    monkeypatch.setattr(
        attacks, "fgsm", lambda model, images, labels, eps: Attacked(images, torch.ones_like(labels))
    )
    result = compute("adversarial:attacks=fgsm", Linear(), of(Linear(), pixels))
    assert result["after"] == [100]


def test_the_network_is_left_as_it_was(digits):
    model, images = digits
    before = {k: v.clone() for k, v in model.state_dict().items()}
    result = compute(QUICK + ",size=10", model, images)
    assert result["images"] == 10 and result["robust"] < result["accuracy"]
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_another_seed_is_another_attempt(digits):
    model, images = digits
    first, second = (
        compute(f"adversarial:attacks=square,queries=20,curve=8,size=20,seed={n}", model, images)
        for n in (0, 1)
    )
    assert first["attacked_loss"] != second["attacked_loss"]
