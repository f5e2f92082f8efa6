"""An experiment: the typed description of one training, and the key of its run."""

import functools
import hashlib
import json
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from specfreq import augment, filters, measures, models
from specfreq.core.errors import UserError
from specfreq.core.spec import Refusing, parts
from specfreq.data import Draw, load, normal_form
from specfreq.train.recipe import Recipe

if TYPE_CHECKING:
    from specfreq.data.sets import ImageSet
    from specfreq.data.streams import Stream

_load = functools.lru_cache(maxsize=8)(load)
_described = ContextVar("described", default=False)  # whether names and types alone are checked


class Experiment(Refusing, Recipe):
    """One point of the experiment space: data x input filter x augmentation x model, trained by one recipe.
    Frozen, validated.

    Example:
        >>> specfreq.Experiment(data="digits", model="resnet8").key
        'af56ed50e64b2489'
    """

    data: str = Field("photos", description="image set, see `specfreq data list`")
    train_size: int | None = Field(
        None, ge=2, description="training images, a balanced subset; all if not given"
    )
    train_draw: Draw = Field(
        "balanced", description="which: balanced over the classes, or the first, whatever their classes"
    )
    test_size: int | None = Field(None, ge=1, description="test images, a balanced subset; all if not given")
    filter: str = Field(
        "none", description="input filter of training and test images, such as gaussian-low-pass:sigma=2"
    )
    augment: str = Field(
        "none", description="augmentation, such as apr-p:p=0.5, see `specfreq list augmentations`"
    )
    model: str = Field("resnet8", description="network, such as wrn-40-2, see `specfreq list models`")

    # frozen, so it can be wider than the recipe's
    precision: Literal["float32", "bfloat16", "auto"] = Field(  # pyright: ignore[reportIncompatibleVariableOverride]
        "float32",
        description="bfloat16: autocast of the forward pass; auto: that, where the device is faster with it",
    )

    # no part of what is trained: neither of the key nor of what a run says of itself
    watch: tuple[str, ...] = Field(
        (), exclude=True, description="measures after epochs, kept as a series, such as accuracy+nll"
    )
    watch_epochs: tuple[int, ...] = Field(
        (), exclude=True, description="after which, such as 1,5,10; after each if not given"
    )

    @field_validator("data")
    @classmethod
    def _data(cls, value: str) -> str:
        return normal_form(value)

    @field_validator("filter")
    @classmethod
    def _filter(cls, value: str) -> str:
        return filters.spelling(value)

    @field_validator("augment")
    @classmethod
    def _augment(cls, value: str) -> str:
        return augment.spelling(value)

    @field_validator("model")
    @classmethod
    def _model(cls, value: str) -> str:
        return models.normal_form(value)

    @field_validator("watch", mode="before")
    @classmethod
    def _watch(cls, value: Any) -> Any:
        """Text is read as on the command line; descriptions that have + or , themselves stand in quotes."""
        return tuple(filter(None, parts(value))) if isinstance(value, str) else value

    @field_validator("watch")
    @classmethod
    def _spelled(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(map(measures.normal_form, value)))

    @field_validator("watch_epochs", mode="before")
    @classmethod
    def _watch_epochs(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(value.split(",")) if value.strip() else ()
        return (value,) if isinstance(value, int) else value

    @field_validator("watch_epochs")
    @classmethod
    def _ascending(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(value)))

    @model_validator(mode="after")
    def _recordable(self) -> Self:
        if self.watch_epochs and not self.watch:
            raise UserError("watch_epochs is refused without watch, which says what is measured after them")
        for epoch in self.watch_epochs:
            if not 1 <= epoch <= self.epochs:
                raise UserError(f"watch_epochs={epoch} is refused: the training has {self.epochs} epochs")
        return self

    @model_validator(mode="after")
    def _buildable(self) -> Self:
        """Names and types are right by now; values that a constructor alone can judge come last, as that
        takes seconds.
        """
        if not _described.get():
            for field, kind in (("filter", filters), ("augment", augment)):
                value = getattr(self, field)
                try:
                    kind.check(value)
                except UserError as error:
                    raise UserError(f"{field}={value!r} is refused: {error}") from None
        return self

    @classmethod
    def described(cls, **values: Any) -> Self:
        """An experiment of which names and types alone are checked: of a profile, or of a run that was
        checked before it began.

        Raises:
            UserError: a name, or a value of the wrong type.
        """
        token = _described.set(True)
        try:
            return cls(**values)
        finally:
            _described.reset(token)

    def image_set(self, split: str) -> "ImageSet | Stream":
        """The training or test images of this experiment; the subset is the same for every seed."""
        if split == "train":
            return _load(self.data, split, self.train_size, draw=self.train_draw)
        return _load(self.data, split, self.test_size)

    @property
    def passes(self) -> int:
        """How many images pass through the network in training, counting each view, and each attack once
        more: what arms of equal cost have in common.
        """
        each = augment.build(self.augment).shown * (1 if self.adversary == "none" else 2)
        return len(self.image_set("train")) * self.epochs * each

    def effective(self) -> dict[str, Any]:
        idle = {"train_draw"} if self.train_size is None else set()
        return {k: v for k, v in super().effective().items() if k not in idle}

    @property
    def key(self) -> str:
        """The name of the run's directory: a hash of what is not as by default, of the images, and of the
        trainer's version.
        """
        from specfreq.train import state

        digests = [self.image_set(split).digest for split in ("train", "test")]
        # what is as by default is left out: a field that is new leaves older keys alone
        text = json.dumps([state.version(self), self.effective(), digests], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
