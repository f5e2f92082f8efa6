"""How a network is trained: a typed description of all that changes the result, and the learning rate."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from specfreq.core.errors import UserError
from specfreq.core.spec import Levels, Positive


class Recipe(BaseModel):
    """How a network is trained. Everything that changes the result is here, and nothing else is."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    epochs: int = Field(2, ge=0, le=10**6, description="passes over the training images")
    batch: int = Field(128, ge=2, le=10**6, description="images per step, over all processes")
    optimizer: Literal["sgd", "adam"] = Field(
        "sgd", description="sgd with momentum, or adam with PyTorch's betas"
    )
    lr: Positive = Field(0.1, description="highest learning rate of the schedule")
    momentum: float = Field(0.9, ge=0, lt=1, description="sgd: momentum; 0 for none")
    nesterov: bool = Field(True, description="sgd: Nesterov's momentum, not the classical one")
    weight_decay: float = Field(5e-4, ge=0, le=1e30, description="L2 penalty on every parameter")
    schedule: Literal["one-cycle", "cosine", "step", "constant"] = Field(
        "one-cycle", description="one-cycle: linear up to the peak, then linear down; step: see milestones"
    )
    peak: float = Field(
        0.2, ge=0, lt=1, description="one-cycle: where the highest rate is, as a share of the training"
    )
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (0.25, 0.5, 0.75), description="step: where, as shares of the training"
    )
    decay: float = Field(0.1, gt=0, lt=1, description="step: the factor at each milestone")
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of the target that is spread evenly over all classes"
    )
    shift_lr: Positive = Field(
        1.0,
        description="normalisation's shifts: their learning rate over that of the other parameters; their "
        "weight decay is less by as much",
    )
    ema: float = Field(
        0.0, ge=0, lt=1, description="end with the exponential average of the weights, of this decay per step"
    )
    lookahead: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="every 5 steps the network takes the exponential average of its states, of up to this "
        "decay per step",
    )
    crop: Literal["shift", "random-resized"] = Field(
        "shift",
        description="shift: see there; random-resized: for sets that are streamed from disk, as on ImageNet",
    )
    shift: int = Field(4, ge=0, description="random crop: largest shift, pixels")
    border: Literal["zero", "grey", "edge", "reflect"] = Field(
        "zero", description="what a shifted image shows beyond its border"
    )
    flip: bool = Field(True, description="mirror left-right with probability 1/2")
    alternate: bool = Field(
        False, description="flip: mirror a random half, then the others, and so on, not each image by chance"
    )
    adversary: Literal["none", "fgsm"] = Field(
        "none",
        description="fgsm: train on attacked images, a random start and one signed step of the gradient",
    )
    eps: Levels = Field(8.0, description="fgsm: largest change of a value, in 255ths")
    alpha: Levels = Field(10.0, description="fgsm: length of the step, in 255ths")
    attack_mode: Literal["eval", "train"] = Field(
        "eval",
        description="fgsm: the network's mode while it is attacked; train: by batch statistics, which move",
    )
    normalise: bool = Field(True, description="subtract the mean and divide by the deviation of each channel")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="bfloat16: autocast of the forward pass"
    )
    compile: bool = Field(
        False, description="torch.compile the network: minutes at first, faster steps, other rounding"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="of the weights, the order and the augmentation")

    @field_validator("milestones", mode="before")
    @classmethod
    def _milestones(cls, value: Any) -> Any:
        """Text is read as on the command line, 0.3,0.6; the order does not matter."""
        if isinstance(value, str):
            value = [*map(float, value.split(","))]
        elif isinstance(value, int | float):
            value = [value]
        return sorted(value) if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _one_average(self) -> Self:
        if self.ema and self.lookahead:
            raise UserError("ema and lookahead are two ways to average weights; choose one")
        return self

    def effective(self) -> dict[str, Any]:
        """The settings with an effect that differ from the defaults: equal ones are one training."""
        idle = (
            {"momentum", "nesterov"}
            if self.optimizer == "adam"
            else {"nesterov"}
            if not self.momentum
            else set()
        )
        idle |= {"alternate"} if not self.flip else set()
        idle |= {"milestones", "decay"} if self.schedule != "step" else set()
        idle |= {"peak"} if self.schedule != "one-cycle" else set()
        idle |= {"eps", "alpha", "attack_mode"} if self.adversary == "none" else set()
        idle |= {"shift", "border"} if self.crop != "shift" else {"border"} if not self.shift else set()
        return self.model_dump(mode="json", exclude_defaults=True, exclude=idle)


def learning_rate(recipe: Recipe, progress: float) -> float:
    """Learning rate after a share of the training, progress in [0, 1]."""
    match recipe.schedule:
        case "constant":
            return recipe.lr
        case "cosine":
            return recipe.lr * (1 + math.cos(math.pi * progress)) / 2
        case "step":
            return recipe.lr * recipe.decay ** sum(progress >= m for m in recipe.milestones)
        case "one-cycle":
            rising = progress / recipe.peak if recipe.peak else 1
            return recipe.lr * min(rising, (1 - progress) / (1 - recipe.peak))
