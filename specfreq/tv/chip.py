"""The engine for CUDA GPUs: a program of Triton for each image, which holds it in registers for ten
iterations and more at a time.

Neighbours are read by gathering within the program's own tensors, so that no two threads can race; every
operation is rounded as the plain engine rounds it, and no number depends on what else is in the batch. Tested
in Triton's interpreter, against the plain engine, and by compiling for compute capability 9.0; not on a GPU,
so its speed is not known.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from specfreq.tv.plain import Plain, Unusable

# values of a block: Triton 3.6 does not compile one of 1 x 1 x 8, in which threads of a warp share values
LEAST = 64


class Chip(Plain):
    """The state of a batch, see `plain.Plain`, that advances and is certified by one kernel each."""

    MOST = 64 * 64  # values of an image, its sides and channels rounded up to powers of two

    def __init__(self, f: Tensor, *others):
        super().__init__(f, *others)
        self.x, self.y, self.p = self.x.clone(), self.y.clone(), self.p.clone()  # written in place
        self.image = torch.empty_like(f)

    @classmethod
    def fits(cls, f: Tensor) -> bool:
        """Whether an image is small enough to stay on the chip."""
        return _room(f)[3] <= cls.MOST

    def advance(self, lines: list[tuple], count: int) -> None:
        """`count` iterations (see `steps`) with these step sizes, a line of them for each or one for all."""
        images = len(self.f)
        table = torch.stack([self._scalar(number).view(images) for line in lines for number in line])
        inside = 1 - (4 + self.f.shape[1]) * torch.finfo(self.f.dtype).eps
        state = self.g, self.x, self.y, self.p, self.new
        counts = images, len(lines), count
        self._launch(_advance, table, *state, *counts, inside, *self._sizes(), self.momentum)

    def certify(self) -> Tensor:
        """Primal energy and gap of the active images, or their means if better; the parts of the gap of the
        images. (4, active).
        """
        images = len(self.f)
        energies = self.weight.new_empty(4, images)
        state = (
            self.f,
            self.shift,
            self.mean,
            self.flat,
            self.weight,
            self.fitted.byte(),
            self.new,
            self.p,
            self.image,
        )
        self._launch(_certify, *state, energies, images, *self._sizes())
        return energies

    def _launch(self, kernel, *arguments) -> None:
        warps = max(1, min(16, _room(self.f)[3] // 256))
        try:
            with torch.cuda.device_of(self.f):  # Triton launches on the current GPU, wherever the tensors are
                kernel[(len(self.f),)](*arguments, num_warps=warps, enable_fp_fusion=False)
        # of any kind: no C compiler, what the compiler refuses, too few registers, no driver
        except Exception as error:
            raise Unusable(f"{type(error).__name__}: {error}") from error

    def _sizes(self) -> tuple[int, ...]:
        return (*self.f.shape[1:], *_room(self.f)[:3])


def _room(f: Tensor) -> tuple[int, int, int, int]:
    """Channels, height and width of the block for images (B, C, H, W), powers of two, and their product, at
    least LEAST.
    """
    channels, height, width = (triton.next_power_of_2(n) for n in f.shape[1:])
    width = max(width, LEAST // (channels * height))
    return channels, height, width, channels * height * width


@triton.jit
def _grid(C2: tl.constexpr, H2: tl.constexpr, W2: tl.constexpr):
    """Channel, row and column of each value of a tensor (C2, H2, W2)."""
    nothing = tl.zeros((C2, H2, W2), tl.int32)
    channel = nothing + tl.arange(0, C2)[:, None, None]
    row = nothing + tl.arange(0, H2)[None, :, None]
    return channel, row, nothing + tl.arange(0, W2)[None, None, :]


@triton.jit
def _differences(u, row, column, H: tl.constexpr, W: tl.constexpr, H2: tl.constexpr, W2: tl.constexpr):
    """K u, down and to the right; 0 across the border and beyond it."""
    below = tl.gather(u, tl.minimum(row + 1, H2 - 1), 1)
    right = tl.gather(u, tl.minimum(column + 1, W2 - 1), 2)
    inside = (row < H) & (column < W)
    return tl.where(inside & (row < H - 1), below - u, 0), tl.where(inside & (column < W - 1), right - u, 0)


@triton.jit
def _transposed(y1, y2, row, column):
    """K^T y of a field that is 0 where K u is."""
    above = tl.where(row > 0, tl.gather(y1, tl.maximum(row - 1, 0), 1), 0)
    left = tl.where(column > 0, tl.gather(y2, tl.maximum(column - 1, 0), 2), 0)
    return (above - y1) + (left - y2)


@triton.jit
def _shrinkage(q1, q2):
    """1 / max(|q|, 1), over all channels; correctly rounded."""
    squares = tl.maximum(tl.sum(q1 * q1 + q2 * q2, 0)[None, :, :], 1.0)  # pyright: ignore
    if q1.dtype == tl.float32:
        return tl.div_rn(tl.full(squares.shape, 1.0, tl.float32), tl.sqrt_rn(squares))
    else:
        return 1.0 / tl.sqrt(squares)


@triton.jit(do_not_specialize=["images", "lines", "count"])
def _advance(
    table,
    g,
    x,
    y,
    p,
    new,
    images,
    lines,
    count,
    inside: tl.constexpr,
    C: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
    C2: tl.constexpr,
    H2: tl.constexpr,
    W2: tl.constexpr,
    momentum: tl.constexpr,
):
    image = tl.program_id(0).to(tl.int64)
    channel, row, column = _grid(C2, H2, W2)
    mine = (channel < C) & (row < H) & (column < W)
    at = image * (C * H * W) + (channel * H + row) * W + column
    down = image * (2 * C * H * W) + (channel * 2 * H + row) * W + column
    right = down + H * W
    given, u = tl.load(g + at, mine, 0.0), tl.load(x + at, mine, 0.0)
    y1, y2 = tl.load(y + down, mine, 0.0), tl.load(y + right, mine, 0.0)
    p1, p2 = y1, y2
    if momentum:
        p1, p2 = tl.load(p + down, mine, 0.0), tl.load(p + right, mine, 0.0)
    for k in range(count):
        numbers = table + tl.minimum(k, lines - 1) * 7 * images + image
        a, b, c = tl.load(numbers), tl.load(numbers + images), tl.load(numbers + 2 * images)
        sigma, theta = tl.load(numbers + 3 * images), tl.load(numbers + 4 * images)
        rho, beta = tl.load(numbers + 5 * images), tl.load(numbers + 6 * images)
        point = (a * u + b * given) - c * _transposed(y1, y2, row, column)
        change = point - u
        ahead = point + theta * change
        u = u + rho * change
        d1, d2 = _differences(ahead, row, column, H, W, H2, W2)
        q1, q2 = y1 + sigma * d1, y2 + sigma * d2
        shorter = _shrinkage(q1, q2)
        q1, q2 = q1 * shorter, q2 * shorter
        if momentum:
            q1, q2 = q1 * inside, q2 * inside
            y1, y2 = q1 + beta * (q1 - p1), q2 + beta * (q2 - p2)
            p1, p2 = q1, q2
        else:
            y1, y2 = y1 + rho * (q1 - y1), y2 + rho * (q2 - y2)
            q1, q2 = q1 * inside, q2 * inside
        if k == count - 1:
            tl.store(new + at, point, mine)
            tl.store(p + down, q1, mine)
            tl.store(p + right, q2, mine)
    tl.store(x + at, u, mine)
    tl.store(y + down, y1, mine)
    tl.store(y + right, y2, mine)


@triton.jit
def _sum(values):
    return tl.sum(tl.sum(tl.sum(values, 2), 1), 0)


@triton.jit(do_not_specialize=["images"])
def _certify(
    f,
    shift,
    mean,
    flat,
    weight,
    fitted,
    new,
    p,
    image,
    energies,
    images,
    C: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
    C2: tl.constexpr,
    H2: tl.constexpr,
    W2: tl.constexpr,
):
    k = tl.program_id(0).to(tl.int64)
    channel, row, column = _grid(C2, H2, W2)
    mine = (channel < C) & (row < H) & (column < W)
    at = k * (C * H * W) + (channel * H + row) * W + column
    down = k * (2 * C * H * W) + (channel * 2 * H + row) * W + column
    given = tl.load(f + at, mine, 0.0).to(tl.float64)
    p1 = tl.load(p + down, mine, 0.0).to(tl.float64)
    p2 = tl.load(p + down + H * W, mine, 0.0).to(tl.float64)
    w, level = tl.load(weight + k), tl.load(flat + k)
    best = given - w * _transposed(p1, p2, row, column)
    point = tl.load(new + at, mine, 0.0)
    found = tl.where(
        tl.load(fitted + k) != 0, best.to(point.dtype), point + tl.load(shift + k * C + channel, mine, 0.0)
    )
    average = tl.load(mean + k * C + channel, mine, 0.0)
    u, half = found.to(tl.float64), 0.5 / w
    d1, d2 = _differences(u, row, column, H, W, H2, W2)
    lengths = tl.sqrt(tl.sum(d1 * d1 + d2 * d2, 0))
    slack = tl.sum(tl.sum(lengths - tl.sum(d1 * p1 + d2 * p2, 0), 1), 0)
    primal = tl.sum(tl.sum(lengths, 1), 0) + half * _sum(tl.where(mine, (u - given) * (u - given), 0))
    misfit = half * _sum(tl.where(mine, (u - best) * (u - best), 0))
    rest = average.to(tl.float64) - best
    better = level <= primal
    tl.store(image + at, tl.where(better, average, found), mine)
    tl.store(energies + k, tl.where(better, level, primal))
    tl.store(
        energies + images + k, tl.where(better, half * _sum(tl.where(mine, rest * rest, 0)), slack + misfit)
    )
    tl.store(energies + 2 * images + k, slack)
    tl.store(energies + 3 * images + k, misfit)
