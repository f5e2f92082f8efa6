"""Fourier analysis of images: pure, differentiable functions of tensors.

Images are float32 or float64 tensors (..., C, H, W) of any even or odd size, on any device. The transform is
the unnormalised DFT over the last two axes, F(k) = Σ x(n) exp(-2πi k·n/N), computed as a half spectrum since
the images are real.

- *Frequencies* k are integers ky in [-H/2, H/2), kx in [-W/2, W/2), in cycles per image; divided by H and W:
  cycles per pixel.
- *Shifted* spectra and masks hold k = 0 at index [H//2, W//2]; the others are in the order of
  `torch.fft.fft2`.
- Which band, ring or bin a frequency is in is decided by the whole number |k|² = ky² + kx², never by a
  rounded root, and so alike on every machine. |k| = *radius* where √|k|², rounded to float64, is the radius:
  low_pass(x, math.sqrt(2)) leaves k = (1, 1) out, and low_pass(x, math.nextafter(math.sqrt(2), 2)) keeps it.
- A mask M is *Hermitian* if M(-k) = M(k) on the periodic grid; only then is what it lets through real.
- An image's result does not depend on the rest of its batch, but for rounding: libraries choose a transform's
  kernel by its size.
- A spectrum counts as *zero* at or below 2 eps Σ|x|, what rounding leaves of zeros: the phase of that would
  differ by machine.

All functions raise TypeError for values that are not float32 or float64, ValueError for shapes that do not
fit.
"""

import math
from fractions import Fraction
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.fft import fft, fftfreq, fftshift, ifft, ifftshift, irfft2, rfft2, rfftfreq

__all__ = [
    "Basis",
    "amplitude",
    "apply_mask",
    "band_pass",
    "basis",
    "centroid",
    "gaussian_band_pass",
    "gaussian_high_pass",
    "gaussian_low_pass",
    "half_of",
    "hermitian",
    "high_pass",
    "is_hermitian",
    "low_pass",
    "mirror",
    "phase",
    "power_spectrum",
    "radial_profile",
    "radius",
    "recombine",
    "ring_index",
    "squared_radius",
    "taper",
    "whiten",
    "within",
]


def recombine(amplitude_of: Tensor, phase_of: Tensor, *, channels: bool = False) -> Tensor:
    r"""Recombine the amplitude spectrum of one image with the phase spectrum of another.

    .. math:: R(a, p) = \mathcal{F}^{-1}\bigl(|\mathcal{F} a| \, e^{i \arg \mathcal{F} p}\bigr)

    Args:
        amplitude_of, phase_of: images (..., C, H, W), same shape, dtype and device; any values whose spectra
            can be squared.
        channels: transform the channel axis too, as the original program does.

    Returns:
        Real images (..., C, H, W). Not clipped: values can leave the range of the inputs.

    Raises:
        ValueError: the two differ in shape, dtype or device.

    Source: Chen et al., ICCV 2021, section 3. Where the phase donor's spectrum is zero its phase is taken as
    0.

    Example:
        >>> images = torch.rand(2, 3, 8, 8)
        >>> torch.allclose(fourier.recombine(images, images), images, atol=1e-5)
        True
    """
    _check(amplitude_of)
    _check(phase_of)
    for what in ("shape", "dtype", "device"):
        a, p = getattr(amplitude_of, what), getattr(phase_of, what)
        if a != p:
            raise ValueError(f"amplitude and phase donor must have the same {what}; got {a} and {p}")
    tiny, dims = torch.finfo(phase_of.dtype).tiny, (-3, -2, -1) if channels else (-2, -1)
    # X |Y| / |X| instead of |Y| exp(i arg X): no trigonometry. The clamp keeps the gradient finite where Y =
    # 0.
    donor = _squared(_transform(amplitude_of, channels)).clamp_min(tiny**0.5)
    spectrum, level = _transform(phase_of, channels), _rounding(phase_of, dims)
    power = _squared(spectrum)
    zero = power <= level.square()
    gain = (power.maximum(level.square()) / donor).rsqrt()
    if (
        torch.compiler.is_compiling()
    ):  # fuses real arithmetic only; a third faster than the next line would be
        spectrum = torch.complex(
            torch.where(zero, level, spectrum.real) * gain, spectrum.imag.masked_fill(zero, 0) * gain
        )
    else:
        spectrum = torch.where(zero, level, spectrum) * gain
    return _inverse(
        ifft(spectrum, dim=-3) if channels and spectrum.numel() else spectrum, phase_of.shape[-2:]
    )


def amplitude(x: Tensor) -> Tensor:
    """Amplitude spectrum |F x| of images (..., C, H, W): (..., C, H, W), not shifted, not normalised."""
    _check(x)
    return _unfold(_forward(x).abs(), x.shape[-1])


def phase(x: Tensor) -> Tensor:
    """Phase spectrum arg F x of images (..., C, H, W): (..., C, H, W), radians, not shifted; 0 where F x is
    zero.

    In [-π, π], whose two ends are one angle: which of them a negative real coefficient has depends on
    rounding.
    """
    _check(x)
    spectrum = _forward(x)
    zero = _squared(spectrum) <= _rounding(x, (-2, -1)).square()
    return _unfold(spectrum.masked_fill(zero, 1).angle(), x.shape[-1], sign=-1)


def low_pass(x: Tensor, radius: float) -> Tensor:
    """Ideal low pass: keep the frequencies |k| < radius of each channel; the edge belongs to the high
    frequencies.

    Args:
        x: images (..., C, H, W).
        radius: cycles per image, >= 0; 0 keeps nothing, 1 the mean, more than N/√2 all of an N x N image.
            Where the edge lies among the frequencies is decided exactly, see `within`.

    Returns:
        Images (..., C, H, W), not clipped.

    Raises:
        ValueError: the radius is negative or NaN.

    Source: Lin et al., IJCAI 2022, who write X_l^(r).

    Example:
        >>> x = torch.rand(3, 16, 16)
        >>> torch.allclose(fourier.low_pass(x, 4) + fourier.high_pass(x, 4), x, atol=1e-5)
        True
    """
    return band_pass(x, 0.0, radius)


def high_pass(x: Tensor, radius: float) -> Tensor:
    """Ideal high pass, x - low_pass(x, radius): what lies at |k| >= radius cycles per image; of mean 0 if
    radius > 0.

    Example:
        >>> bool(fourier.high_pass(torch.ones(1, 8, 8), 1).abs().max() < 1e-6)
        True
    """
    return x - low_pass(x, radius)


def band_pass(x: Tensor, low: float, high: float) -> Tensor:
    """Ideal band pass: keep low <= |k| < high, in cycles per image, of images (..., C, H, W).

    Bands add up to the image: low_pass(x, a) + band_pass(x, a, b) + high_pass(x, b) == x.

    Raises:
        ValueError: not 0 <= low <= high.
    """
    _check(x)
    if not 0 <= low <= high:
        raise ValueError(f"need 0 <= low <= high, in cycles per image; got a band from {low} to {high}")
    squared = squared_radius(*x.shape[-2:])
    return _filter(x, half_of(within(squared, high) & ~within(squared, low)))


def gaussian_low_pass(x: Tensor, sigma: float) -> Tensor:
    r"""Gaussian blur with periodic borders, each channel by itself.

    .. math:: \hat x(f) \mapsto e^{-2 \pi^2 \sigma^2 |f|^2} \, \hat x(f), \quad f \text{ in cycles per pixel}

    Args:
        x: images (..., C, H, W).
        sigma: standard deviation of the kernel in pixels, > 0.

    Returns:
        Images (..., C, H, W) with the means of x. The transfer function is exact, as in
        `scipy.ndimage.fourier_gaussian`; below a sigma of about 1 a sampled kernel, as in
        `scipy.ndimage.gaussian_filter`, differs from it by aliasing.

    Raises:
        ValueError: sigma is not a positive number.

    Example:
        >>> x = torch.rand(3, 16, 16)
        >>> torch.allclose(fourier.gaussian_low_pass(x, 2).mean((1, 2)), x.mean((1, 2)), atol=1e-5)
        True
    """
    _check(x)
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma must be a positive number of pixels; got {sigma}")
    height, width = x.shape[-2:]
    squared = fftfreq(height, dtype=torch.float64)[:, None] ** 2 + rfftfreq(width, dtype=torch.float64) ** 2
    return _filter(x, torch.exp(-2 * math.pi**2 * sigma**2 * squared))


def gaussian_high_pass(x: Tensor, sigma: float) -> Tensor:
    """Gaussian high pass, x - gaussian_low_pass(x, sigma): images of mean 0; sigma in pixels."""
    return x - gaussian_low_pass(x, sigma)


def gaussian_band_pass(x: Tensor, sigma_low: float, sigma_high: float) -> Tensor:
    """Difference of Gaussians: x blurred by sigma_low minus x blurred by the larger sigma_high, both in
    pixels.

    Bands add up: gaussian_low_pass(x, b) + gaussian_band_pass(x, a, b) + gaussian_high_pass(x, a) == x.

    Raises:
        ValueError: not 0 < sigma_low < sigma_high.
    """
    if not 0 < sigma_low < sigma_high:
        raise ValueError(f"need 0 < sigma_low < sigma_high, in pixels; got {sigma_low} and {sigma_high}")
    return gaussian_low_pass(x, sigma_low) - gaussian_low_pass(x, sigma_high)


def taper(height: int, width: int, window: Literal["hamming"] | None = None) -> Tensor:
    """Window h over an image, float64 (height, width): 1, or the outer product of symmetric Hamming windows
    (as `numpy.hamming`).

    It keeps the jump between opposite borders from leaking along the axes of the spectrum.

    Raises:
        ValueError: the window has another name.
    """
    if window is None:
        return torch.ones(height, width, dtype=torch.float64)
    if window != "hamming":
        raise ValueError(f"window must be 'hamming' or None; got {window!r}")
    return torch.outer(
        *(torch.hamming_window(n, periodic=False, dtype=torch.float64) for n in (height, width))
    )


def power_spectrum(x: Tensor, window: Literal["hamming"] | None = None) -> Tensor:
    """Power spectrum |F (x h)|² of images (..., C, H, W): (..., C, H, W), shifted, not normalised; its sum is
    H W Σ(x h)².

    The window h is that of `taper`.

    Raises:
        ValueError: the window has another name.

    Example:
        >>> fourier.power_spectrum(torch.ones(1, 4, 4))[0, 2, 2]  # zero frequency in the middle: (4 * 4)²
        tensor(256.)
    """
    _check(x)
    if window is not None:
        height, width = x.shape[-2:]
        x = x * taper(height, width, window).to(x)
    return fftshift(_unfold(_squared(_forward(x)), x.shape[-1]), dim=(-2, -1))


def radial_profile(power: Tensor, as_published: bool = False) -> Tensor:
    """Mean power on rings: bin r is the mean over round(|k|) = r, for r = 0 .. min(H, W)//2 cycles per image.

    Args:
        power: shifted spectra (..., H, W), any values.
        as_published: the azimuthal average of the frequency-bias program: centre ((H-1)/2, (W-1)/2), for
            even sizes half a pixel off, bin floor(|k|), first and last bin dropped: 20 bins for 32 x 32. It
            splits the ring |k| = 1.

    Returns:
        (..., bins). Unless `as_published`, the corners beyond the last ring are left out.

    Raises:
        ValueError: the spectrum is too small to have a bin.

    Example:
        >>> wave = torch.cos(torch.pi / 8 * 3 * torch.arange(16)).expand(1, 16, 16)  # 3 cycles per image
        >>> fourier.radial_profile(fourier.power_spectrum(wave)).argmax()
        tensor(3)
    """
    _check(power, "(..., H, W)")
    height, width = power.shape[-2:]
    ring = ring_index(height, width, as_published).flatten()
    kept = slice(1, int(ring.max())) if as_published else slice(0, min(height, width) // 2 + 1)
    counts = ring.bincount().tolist()
    if not counts[kept]:
        raise ValueError(f"a spectrum of {height} x {width} has no ring to average over")
    # ring by ring, because scattered addition is not deterministic on every device
    rings = power.flatten(-2)[..., ring.argsort(stable=True).to(power.device)].split(counts, dim=-1)
    return torch.stack([values.mean(-1) for values in rings[kept]], dim=-1)


def ring_index(height: int, width: int, as_published: bool = False) -> Tensor:
    """The ring round(|k|) of each frequency of the shifted grid, corners included: int64 (height, width).

    With `as_published`, floor of the distance from ((H-1)/2, (W-1)/2), as in `radial_profile`.
    """
    radii = torch.arange(1, height + width)
    if as_published:
        y, x = (2 * torch.arange(n) - (n - 1) for n in (height, width))  # twice the distances, whole numbers
        return _rings(y[:, None] ** 2 + x**2, 2 * radii)
    return _rings(4 * squared_radius(height, width), 2 * radii - 1)


def centroid(power: Tensor, dc: bool = True) -> Tensor:
    """Spectral centroid Σ|f| P / Σ P of shifted spectra P >= 0 (..., H, W): (...), in cycles per pixel, 0 ..
    0.71.

    Args:
        dc: count the power at f = 0, most of that of most images. Without it the centroid of a constant image
            is 0.

    0 where there is no power, or no more than rounding leaves beside the DC.

    Example:
        >>> wave = torch.cos(torch.pi / 8 * 3 * torch.arange(16)).expand(1, 16, 16)  # 3 cycles per image
        >>> round(float(fourier.centroid(fourier.power_spectrum(wave))), 4)  # 3 / 16
        0.1875
    """
    _check(power, "(..., H, W)")
    fy, fx = (fftshift(fftfreq(n, dtype=torch.float64)) for n in power.shape[-2:])
    frequency = (fy[:, None] ** 2 + fx**2).sqrt().to(power)
    counted = power if dc else power * (frequency > 0)
    total, rounding = counted.sum((-2, -1)), torch.finfo(power.dtype).eps ** 2 * sum(power.shape[-2:])
    none = total <= rounding * power.sum((-2, -1))
    return ((frequency * counted).sum((-2, -1)) / total.masked_fill(none, 1)).masked_fill(none, 0)


def whiten(x: Tensor, mean_power: Tensor, floor: float = 1e-8) -> Tensor:
    r"""Divide the spectrum by the root of a mean power spectrum.

    .. math:: \hat x(k) \mapsto \hat x(k) \,/\, \sqrt{\max(P(k),\ \text{floor} \cdot \max P)}

    Args:
        x: images (..., C, H, W).
        mean_power: P, the mean of `power_spectrum` over a set of images, (C, H, W) or what else broadcasts
            against x; its maximum is taken over the last two axes.
        floor: least power divided by, relative to the largest, in (0, 1]; what is below may be rounding and
            is not amplified.

    Returns:
        Images (..., C, H, W), not clipped. Over the set that P was taken from, the mean power is 1 in every
        bin above the floor.

    Raises:
        ValueError: the floor is not in (0, 1], or P is negative, zero everywhere or not finite.
    """
    _check(mean_power, "(..., H, W)")
    if not 0 < floor <= 1:
        raise ValueError(f"floor must be in (0, 1]; got {floor}")
    largest = mean_power.amax((-2, -1), keepdim=True)
    if not ((mean_power >= 0).all() and (largest > 0).all() and largest.isfinite().all()):
        raise ValueError("mean_power must be finite, not negative, and not zero everywhere")
    return apply_mask(x, hermitian(mean_power.maximum(floor * largest)).rsqrt())


def radius(height: int, width: int | None = None) -> Tensor:
    """Distance |k| = √(ky² + kx²) in cycles per image on the shifted grid: float64 (height, width), square by
    default.
    """
    # NumPy's root is the rounded one everywhere; that of torch may be a unit off in the last place
    return torch.from_numpy(np.sqrt(squared_radius(height, width).numpy()))


def squared_radius(height: int, width: int | None = None) -> Tensor:
    """|k|² = ky² + kx² on the shifted grid: int64 (height, width), square by default."""
    sizes = (height, height if width is None else width)
    if min(sizes) < 1:
        raise ValueError(f"a grid needs positive sizes; got {sizes}")
    ky, kx = (torch.arange(n) - n // 2 for n in sizes)
    return ky[:, None] ** 2 + kx**2


def within(squared: Tensor, radius: float) -> Tensor:
    r"""Which whole numbers |k|² belong to frequencies |k| < radius: booleans, the same on every machine.

    .. math:: \sqrt{|k|^2} < r \iff |k|^2 < m^2, \qquad m = (r^- + r) / 2

    with r⁻ the float64 next below r: a root that rounds to r is not below it. m² is a fraction and exact.

    Args:
        squared: int64, of any shape.
        radius: cycles per image, from 0 to infinity.

    Raises:
        ValueError: another radius.
    """
    radius = float(radius)
    if not radius >= 0:
        raise ValueError(f"a radius is 0 or more; got {radius}")
    if math.isinf(radius):
        return torch.ones_like(squared, dtype=torch.bool)
    middle = (Fraction(radius) + Fraction(math.nextafter(radius, 0.0))) / 2
    return squared < min(math.ceil(middle**2), torch.iinfo(squared.dtype).max)


def half_of(mask: Tensor) -> Tensor:
    """The half of a shifted mask (..., H, W) that belongs to `rfft2`: (..., H, W // 2 + 1)."""
    return ifftshift(mask, dim=(-2, -1))[..., : mask.shape[-1] // 2 + 1]


def mirror(mask: Tensor) -> Tensor:
    """M(-k) of a shifted mask M (..., H, W) on the periodic grid."""
    y, x = ((2 * (n // 2) - torch.arange(n, device=mask.device)) % n for n in mask.shape[-2:])
    return mask[..., y[:, None], x]


def is_hermitian(mask: Tensor) -> bool:
    """Whether M(-k) = M(k), up to rounding, for a shifted real mask M (..., H, W); one with NaN is not."""
    return torch.allclose(mask.double(), mirror(mask).double())


def hermitian(mask: Tensor) -> Tensor:
    """Hermitian part (M(k) + M(-k)) / 2 of a shifted real mask M (..., H, W): what M does if the imaginary
    part is dropped.
    """
    mask = mask if mask.is_floating_point() else mask.to(torch.get_default_dtype())
    return (mask + mirror(mask)) / 2


def apply_mask(x: Tensor, mask: Tensor) -> Tensor:
    """Multiply the spectra of images (..., C, H, W) by a shifted real mask that broadcasts against them,
    (..., H, W).

    Raises:
        ValueError: the mask has another height or width, or is not Hermitian (`hermitian` makes it so).
    """
    _check(x)
    if mask.shape[-2:] != x.shape[-2:]:
        raise ValueError(
            f"the mask must be as high and wide as the images {tuple(x.shape)}; got {tuple(mask.shape)}"
        )
    if not is_hermitian(mask):
        raise ValueError(
            "the mask must be symmetric about k = 0, else the result is not real; see fourier.hermitian"
        )
    return _filter(x, half_of(mask))


class Basis(NamedTuple):
    """Real Fourier basis images (K, N, N) and their frequencies ky, kx (K, 2)."""

    images: Tensor
    frequencies: Tensor


def basis(
    size: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
) -> Basis:
    """The distinct real Fourier basis images cos(2π (ky y + kx x) / N) of an N x N grid, orthonormal.

    Returns:
        images (K, N, N) with K = N²/2 + 2 for even N (514 for 32), (N² + 1)/2 for odd N; frequencies (K, 2)
        int64, of each pair ±k the one that comes later in the shifted grid (`mirror` fills in the other half
        of a map).

    Raises:
        ValueError: the size is not positive.

    Example:
        >>> fourier.basis(8).images.shape
        torch.Size([34, 8, 8])
    """
    index = torch.arange(radius(size).numel()).view(size, size)
    opposite = mirror(index)
    k = torch.nonzero(index >= opposite) - size // 2
    n = torch.arange(size)
    turns = (k[:, 0, None, None] * n[:, None] + k[:, 1, None, None] * n) % size
    images = torch.cos(2 * math.pi / size * n.double())[turns]
    images /= torch.linalg.vector_norm(images, dim=(-2, -1), keepdim=True)
    return Basis(images.to(device=device, dtype=dtype), k.to(device))


def _check(x: Tensor, axes: str = "(..., C, H, W)") -> None:
    if not isinstance(x, Tensor) or x.dtype not in (torch.float32, torch.float64):
        if not isinstance(x, Tensor):
            what = f"{type(x).__name__}; put v2.ToImage(), v2.ToDtype(torch.float32, scale=True) before it"
        else:
            what = f"{x.dtype} values" + (
                "; take x.float()" if x.is_floating_point() else " (of uint8 images take x / 255)"
            )
        raise TypeError(f"expected a float32 or float64 tensor {axes}; got {what}")
    if x.ndim < axes.count(",") or 0 in x.shape[-2:]:
        raise ValueError(f"expected a tensor {axes}; got shape {tuple(x.shape)}")


def _rings(squared: Tensor, edges: Tensor) -> Tensor:
    """How many of the edges, ascending whole numbers, are not above √squared; both squared, so that nothing
    is rounded.
    """
    return torch.bucketize(squared, edges.square(), right=True)


def _forward(x: Tensor) -> Tensor:
    """Half spectrum, of an empty batch too, which some builds of torch refuse to transform."""
    return (
        rfft2(x)
        if x.numel()
        else x.new_zeros((*x.shape[:-1], x.shape[-1] // 2 + 1), dtype=x.dtype.to_complex())
    )


def _inverse(half: Tensor, size: tuple[int, ...]) -> Tensor:
    """Real images of (height, width) = size from their half spectrum."""
    return irfft2(half, s=size) if half.numel() else half.real.new_zeros((*half.shape[:-2], *size))


def _transform(x: Tensor, channels: bool) -> Tensor:
    """Half spectrum over (H, W), or over (C, H, W) one axis after the other, a fifth faster than rfftn."""
    return fft(_forward(x), dim=-3) if channels and x.numel() else _forward(x)


def _filter(x: Tensor, half: Tensor) -> Tensor:
    """Multiply the half spectrum of x by `half`."""
    return _inverse(_forward(x) * half.to(x), x.shape[-2:])


def _squared(spectrum: Tensor) -> Tensor:
    """|X|², several times faster than by way of |X|."""
    squares = torch.view_as_real(spectrum).square()
    return squares[..., 0] + squares[..., 1]


def _rounding(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """What rounding leaves of the zeros of the DFT: 2 eps Σ|x|, to broadcast against it; large enough to
    divide by its square.
    """
    info = torch.finfo(x.dtype)
    return (2 * info.eps * x.detach().abs().sum(dims, keepdim=True)).clamp_min(info.tiny**0.25)


def _unfold(half: Tensor, width: int, sign: int = 1) -> Tensor:
    """The full spectrum S from its half kx >= 0, where S(-k) = sign S(k)."""
    rest = half[..., 1 : (width + 1) // 2].flip((-2, -1)).roll(1, -2)
    return torch.cat([half, sign * rest], dim=-1)
