"""Modules for pipelines of torchvision's transforms v2: what they take and refuse, how they are shown."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from PIL.Image import Image as Picture
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from specfreq.core.errors import UserError

CURE = "put v2.ToImage(), v2.ToDtype(torch.float32, scale=True) before it"
NARROW = (torch.float16, torch.bfloat16)


class Transform(nn.Module):
    """A module that changes the images of a sample, as torchvision's transforms v2 do.

    A sample is an image, several arguments, or tuples, lists and dicts of them. Its images are all that are
    `tv_tensors.Image`, or else its first plain tensor; all other entries are passed through. Images are
    floats (C, H, W) or (B, C, H, W) and keep type and dtype; half and bfloat16 are computed in float32.

    Parameters of the constructor are shown by `repr`. A module can be pickled, copied, moved and composed.
    """

    moves = False  # whether pixels change place: boxes, masks and key points would no longer fit
    _given: Mapping[str, Any] = {}  # the constructor's parameters

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            cls.__init__ = _recorded(cls.__init__)

    def extra_repr(self) -> str:
        """The parameters of the constructor, those that were changed later as they are now; not its modules,
        which stand below them.
        """
        given = {k: v for k, v in self._given.items() if not isinstance(v, nn.Module)}
        now = {k: vars(self).get(k, value) for k, value in given.items()}
        return ", ".join(f"{k}={now[k] if type(now[k]) is type(v) else v!r}" for k, v in given.items())

    def on_images(self, work: Callable[[Tensor], Tensor], inputs: tuple[Any, ...]) -> Any:
        """The sample with its images replaced by what ``work``, on batches (B, C, H, W), makes of them.

        Raises:
            UserError: no image, or one that is not a float tensor; names what to put before the transform.
        """
        if len(inputs) == 1 and type(inputs[0]) is Tensor:
            return self._changed(work, inputs[0])
        leaves, structure = tree_flatten(inputs[0] if len(inputs) == 1 else inputs)
        places = self._places(leaves)
        if not places:
            found = ", ".join(dict.fromkeys(map(_called, leaves))) or "nothing"
            raise UserError(f"{type(self).__name__} takes float tensors as images and got {found}; {CURE}")
        for place in places:
            leaves[place] = self._changed(work, leaves[place])
        return tree_unflatten(leaves, structure)

    def _places(self, leaves: list[Any]) -> list[int]:
        """Where the images of a sample are, by the rule of torchvision's transforms v2."""
        from torchvision import tv_tensors as tv

        if any(getattr(part, "moves", False) for part in self.modules()):
            targets = [
                type(x).__name__ for x in leaves if isinstance(x, (tv.BoundingBoxes, tv.Mask, tv.KeyPoints))
            ]
            if targets:
                raise UserError(
                    f"{type(self).__name__} rotates, shears and shifts images, and {targets[0]} would no "
                    "longer fit; "
                    "take an augmentation that leaves pixels in place, such as apr-p, tv or afa"
                )
        named = [i for i, x in enumerate(leaves) if isinstance(x, (tv.Image, tv.Video, Picture))]
        plain = [i for i, x in enumerate(leaves) if isinstance(x, Tensor) and not isinstance(x, tv.TVTensor)]
        return named or plain[:1]

    def _changed(self, work: Callable[[Tensor], Tensor], image: Any) -> Any:
        """One image, or batch of them, after the work: of the same shape, type and dtype."""
        x = floats(image, type(self).__name__)
        batch = x if x.ndim != 3 else x[None]
        if batch.ndim != 4 or 0 in batch.shape[1:]:
            raise UserError(f"expected images (B, C, H, W) or (C, H, W); got shape {tuple(x.shape)}")
        done = work(batch)
        done = (done if x.ndim != 3 else done[0]).to(image.dtype)
        if type(image) is Tensor:
            return done
        from torchvision import tv_tensors

        kept = isinstance(image, tv_tensors.TVTensor)
        return tv_tensors.wrap(done, like=image) if kept else done  # pyright: ignore[reportCallIssue]

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:  # pyright: ignore
        """What `fit` has made has the shape that it has where it was saved."""
        for name, own in self._buffers.items():
            saved = state_dict.get(prefix + name)
            if saved is not None:
                like = saved if own is None else own
                self._buffers[name] = torch.empty(saved.shape, dtype=like.dtype, device=like.device)
        super()._load_from_state_dict(state_dict, prefix, *rest)


def floats(image: Any, taker: str) -> Tensor:
    """An image as plain float32 or float64 tensor; half and bfloat16 are widened.

    Raises:
        UserError: PIL images, arrays, videos, bytes and other numbers, with what makes images of them.
    """
    if not isinstance(image, Tensor):
        raise UserError(f"{taker} takes float tensors as images, not {_called(image)}; {CURE}")
    x = image
    if type(image) is not Tensor:
        from torchvision.tv_tensors import Video

        if isinstance(image, Video):
            raise UserError(f"{taker} takes images, not a Video; give its frames as a batch (B, C, H, W)")
        x = image.as_subclass(Tensor)
    if x.dtype in NARROW:
        return x.float()
    if x.dtype in (torch.float32, torch.float64):
        return x
    if x.dtype == torch.uint8:
        cure = "put v2.ToDtype(torch.float32, scale=True) before it, or take x / 255"
    else:
        cure = f"images are a sample's tv_tensors.Image, or else its first tensor; {CURE}"
    raise UserError(f"{taker} takes images of floats, not {x.dtype}; {cure}")


def _called(thing: Any) -> str:
    if isinstance(thing, np.ndarray):
        return f"a NumPy array of {thing.dtype}"
    if isinstance(thing, Tensor):
        return f"{type(thing).__name__} of {thing.dtype}"
    return "a PIL image" if isinstance(thing, Picture) else type(thing).__name__


def _recorded(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor that notes its arguments, defaults included; of some that call one another, the first."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def noting(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        if "_given" not in vars(self):
            bound = signature.bind(self, *args, **kwargs)
            bound.apply_defaults()
            vars(self)["_given"] = dict(list(bound.arguments.items())[1:])
        init(self, *args, **kwargs)

    return noting
