"""Figures of attacks show the numbers they are given, and leave no trace."""

import numpy as np
import pytest
import torch

from specfreq import figures


def result(drop, masked=()):
    """What `adversarial` gives, of three attacks and two sizes."""
    return {
        "attacks": ["fgsm", "pgd", "square"],
        "eps": 8.0,
        "accuracy": 90.0,
        "after": [90.0 - drop, 80.0 - drop, 79.0 - drop],
        "robust": 79.0 - drop,
        "curve_eps": [2.0, 8.0],
        "curve_accuracy": [85.0, 80.0 - drop],
        "masked": list(masked),
    }


RESULTS = {"one": result(10), "other": result(40, ["black-box"])}
CLEAN = torch.full((2, 3, 4, 4), 0.5)
ATTACKED = {"a": CLEAN + 0.02, "b": CLEAN - 0.01}


@pytest.mark.parametrize(
    "draw",
    [
        lambda: figures.under_attack(RESULTS, note="foot"),
        lambda: figures.under_attack({}),
        lambda: figures.attacked_pictures(
            CLEAN, ATTACKED, {"": ["cat", "dog"], "b": ["dog", "cat"]}, note="foot"
        ),
        lambda: figures.attacked_pictures(CLEAN[:, :1], {}),
    ],
)
def test_drawing_sets_no_global_state_and_repeats_to_the_byte(draw, drawn_twice):
    drawn_twice(draw)


def points(axis):
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines]


def test_accuracy_is_drawn_over_the_size_and_after_each_attack():
    curve, steps = figures.under_attack(RESULTS).axes
    assert points(curve)[::2] == [([0, 2, 8], [90, 85, 70]), ([0, 2, 8], [90, 85, 40])]
    assert points(curve)[1::2] == [([8], [69]), ([8], [39])]
    assert points(steps) == [([0, 1, 2, 3], [90, 80, 70, 69]), ([0, 1, 2, 3], [90, 50, 40, 39])]
    assert [t.get_text() for t in steps.get_xticklabels()] == ["clean", "FGSM", "PGD", "Square"]


def test_attacks_that_one_network_did_not_meet_leave_no_mark_for_it():
    fewer = {**result(20), "attacks": ["fgsm", "square"], "after": [70.0, 60.0]}
    assert points(figures.under_attack({"one": result(10), "fewer": fewer}).axes[1])[1] == (
        [0, 1, 3],
        [90, 70, 60],
    )


def test_a_network_that_hides_its_gradients_is_marked():
    (shown,) = figures.under_attack(RESULTS).legends
    assert [t.get_text() for t in shown.get_texts()] == ["one", "other *"]


def test_what_was_added_is_drawn_on_one_scale_around_grey():
    images = [a.images[0].get_array() for a in figures.attacked_pictures(CLEAN, ATTACKED).axes]
    assert len(images) == 2 * 5
    assert [float(np.mean(image)) for image in images[::2]] == pytest.approx(
        [0.5, 1, 0.52, 0.25, 0.49], abs=1e-6
    )


def test_answers_stand_below_the_pictures_they_are_given_to():
    axes = figures.attacked_pictures(CLEAN, ATTACKED, {"": ["cat", "dog"], "b": ["dog", "cat"]}).axes
    assert [a.get_xlabel() for a in axes] == ["cat", "dog", *[""] * 6, "dog", "cat"]
