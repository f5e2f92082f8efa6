"""Fourier analysis of images: pure, differentiable functions of tensors.

Images are float32 or float64 tensors (..., C, H, W) of any even or odd size, on any device. The transform is the unnormalised
DFT over the last two axes, F(k) = Σ x(n) exp(-2πi k·n/N), computed as a half spectrum where the input is real.

- *Frequencies* are integers ky in [-H/2, H/2-1], kx in [-W/2, W/2-1], in cycles per image; divided by H, W: cycles per pixel.
- *Shifted* spectra and masks hold k = 0 at index [H//2, W//2]; the others are in the order of `torch.fft.fft2`.
- A mask M is *Hermitian* where M(-k) = M(k) on the periodic grid; only then is the inverse transform real.
- A spectrum counts as zero where it is below what the rounding of the transform leaves there, 8 eps ‖x‖₂.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.fft import fftfreq, fftshift, ifftshift, irfft2, irfftn, rfft2, rfftfreq, rfftn

# -- amplitude and phase ----------------------------------------------------------------------------------------------


def recombine(amplitude_of: Tensor, phase_of: Tensor, *, channels: bool = False) -> Tensor:
    r"""Recombine the amplitude spectrum of one image with the phase spectrum of another.

    .. math:: R(a, p) = \mathcal{F}^{-1}\bigl(|\mathcal{F} a| \, e^{i \arg \mathcal{F} p}\bigr)

    Args:
        amplitude_of, phase_of: images (..., C, H, W), same shape, dtype and device; any value range.
        channels: transform the channel axis too, as the original program does.

    Returns:
        Real images (..., C, H, W). Not clipped: values can leave the range of the inputs.

    Raises:
        ValueError: the two differ in shape, dtype or device.
        TypeError: the images are not float32 or float64.

    Source: Chen et al., ICCV 2021, section 3. Where the phase donor's spectrum is zero its phase is taken as 0.
    """
    _check(amplitude_of)
    _check(phase_of)
    for what in ("shape", "dtype", "device"):
        a, p = getattr(amplitude_of, what), getattr(phase_of, what)
        if a != p:
            raise ValueError(f"amplitude and phase donor must have the same {what}; got {a} and {p}")
    dims = (-3, -2, -1) if channels else (-2, -1)
    donor, spectrum = rfftn(amplitude_of, dim=dims), rfftn(phase_of, dim=dims)
    power = _squared(spectrum)
    zero = power <= _rounding(phase_of, dims).square()
    spectrum, power = spectrum.masked_fill(zero, 1), power.masked_fill(zero, 1)
    # X |Y| / |X| instead of |Y| exp(i arg X): no trigonometry. The clamp keeps the gradient finite where Y = 0.
    gain = (_squared(donor).clamp_min(torch.finfo(phase_of.dtype).tiny) / power).sqrt()
    return irfftn(spectrum * gain, s=[phase_of.shape[d] for d in dims], dim=dims)


def amplitude(x: Tensor) -> Tensor:
    """Amplitude spectrum |F x| of images (..., C, H, W): (..., C, H, W), not shifted, not normalised."""
    _check(x)
    return _unfold(rfft2(x).abs(), x.shape[-1])


def phase(x: Tensor) -> Tensor:
    """Phase spectrum arg F x of images (..., C, H, W): (..., C, H, W), radians in [-π, π], not shifted; 0 where F x is zero."""
    _check(x)
    spectrum = rfft2(x)
    half = spectrum.masked_fill(spectrum.abs() <= _rounding(x, (-2, -1)), 1).angle()
    return _unfold(half, x.shape[-1], sign=-1)


# -- band limits ------------------------------------------------------------------------------------------------------


def low_pass(x: Tensor, radius: float) -> Tensor:
    """Ideal low pass: keep the frequencies k with |k| < radius.

    Args:
        x: images (..., C, H, W).
        radius: cycles per image, >= 0; 0 keeps nothing, 1 the mean, more than H/√2 of a square image everything.

    Returns:
        Images (..., C, H, W), each channel by itself; not clipped.

    Raises:
        ValueError: the radius is negative or NaN.

    Source: Lin et al., IJCAI 2022. The edge belongs to the high frequencies.
    """
    return band_pass(x, 0.0, radius)


def high_pass(x: Tensor, radius: float) -> Tensor:
    """Ideal high pass, x - low_pass(x, radius): what lies at |k| >= radius cycles per image; mean 0 if radius > 0."""
    return x - low_pass(x, radius)


def band_pass(x: Tensor, low: float, high: float) -> Tensor:
    """Ideal band pass: keep low <= |k| < high, in cycles per image.

    The bands of a partition add up to the image: ``low_pass(x, a) + band_pass(x, a, b) + high_pass(x, b) == x``.

    Raises:
        ValueError: not 0 <= low <= high.
    """
    _check(x)
    if not 0 <= low <= high:
        raise ValueError(f"a band needs 0 <= low <= high, in cycles per image; got {low} and {high}")
    height, width = x.shape[-2:]
    distance = ifftshift(radius(height, width))[:, : width // 2 + 1]
    return _filter(x, (low <= distance) & (distance < high))


def gaussian_low_pass(x: Tensor, sigma: float) -> Tensor:
    r"""Gaussian blur with periodic borders, each channel by itself.

    .. math:: \hat x(f) \mapsto e^{-2 \pi^2 \sigma^2 |f|^2} \, \hat x(f), \quad f \text{ in cycles per pixel}

    Args:
        x: images (..., C, H, W).
        sigma: standard deviation of the kernel in pixels, > 0.

    Returns:
        Images (..., C, H, W) with the mean of x. Below sigma of about 1 a sampled kernel, as in `scipy.ndimage.gaussian_filter`,
        differs from this transfer function by its aliasing.

    Raises:
        ValueError: sigma is not a positive number.
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
    """Difference of Gaussians: blurred by sigma_low minus blurred by sigma_high, in pixels, sigma_low < sigma_high.

    As in `skimage.filters.difference_of_gaussians`. Bands add up: low pass at sigma_high + band + high pass at sigma_low == x.

    Raises:
        ValueError: not 0 < sigma_low < sigma_high.
    """
    if not 0 < sigma_low < sigma_high:
        raise ValueError(f"a band needs 0 < sigma_low < sigma_high, in pixels; got {sigma_low} and {sigma_high}")
    return gaussian_low_pass(x, sigma_low) - gaussian_low_pass(x, sigma_high)


# -- power ------------------------------------------------------------------------------------------------------------


def power_spectrum(x: Tensor, window: Literal["hamming"] | None = None) -> Tensor:
    """Power spectrum |F (x h)|² of images (..., C, H, W): (..., C, H, W), shifted, not normalised.

    By Parseval its sum is H W Σ|x h|². The window h is 1, or the outer product of symmetric Hamming windows (0.08 at the borders,
    as `numpy.hamming`), which keeps the jump at the borders from leaking along the axes.

    Raises:
        ValueError: the window has another name.
    """
    _check(x)
    if window == "hamming":
        x = x * torch.outer(*(_hamming(n) for n in x.shape[-2:])).to(x)
    elif window is not None:
        raise ValueError(f"window must be 'hamming' or None; got {window!r}")
    return fftshift(_unfold(_squared(rfft2(x)), x.shape[-1]), dim=(-2, -1))


def radial_profile(power: Tensor, legacy: bool = False) -> Tensor:
    """Mean power on rings: bin r is the mean over round(|k|) = r, r = 0 .. min(H, W)//2 cycles per image.

    Args:
        power: shifted spectra (..., H, W); any values.
        legacy: the azimuthal average of the frequency-bias program: centre ((H-1)/2, (W-1)/2), which for even sizes is half a
            pixel off, bin floor(|k|), first and last bin dropped (20 bins for 32 x 32). It splits the ring |k| = 1.

    Returns:
        (..., bins). Without `legacy` the corners beyond the largest ring are left out.

    Raises:
        ValueError: the spectrum is too small to have a bin.
    """
    _check(power, axes="(..., H, W)")
    height, width = power.shape[-2:]
    if legacy:
        y, x = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in (height, width))
        ring = (y[:, None] ** 2 + x**2).sqrt().floor()
        first, last = 1, int(ring.max()) - 1
    else:
        ring = radius(height, width).round()
        first, last = 0, min(height, width) // 2
    if last < first:
        raise ValueError(f"a spectrum of {height} x {width} has no ring to average over")
    # gathering and averaging ring by ring is deterministic on every device; scattered addition is not
    order = ring.flatten().argsort(stable=True).to(power.device)
    rings = power.flatten(-2)[..., order].split(ring.flatten().long().bincount().tolist(), dim=-1)
    return torch.stack([values.mean(-1) for values in rings[first : last + 1]], dim=-1)


def centroid(power: Tensor, dc: bool = True) -> Tensor:
    """Spectral centroid Σ|f| P / Σ P in cycles per pixel, 0 .. 0.71.

    Args:
        power: shifted spectra (..., H, W), P >= 0.
        dc: count the power at f = 0, which dominates that of most images.

    Returns:
        (...). 0 where there is no power, or where all but the DC is below what rounding leaves there.
    """
    _check(power, axes="(..., H, W)")
    height, width = power.shape[-2:]
    fy, fx = (fftshift(fftfreq(n, dtype=torch.float64)) for n in (height, width))
    frequency = (fy[:, None] ** 2 + fx**2).sqrt().to(power)
    counted = power if dc else power * (frequency > 0)
    total, everything = counted.sum((-2, -1)), power.sum((-2, -1))
    none = total <= everything * (8 * torch.finfo(power.dtype).eps) ** 2
    return ((frequency * counted).sum((-2, -1)) / total.masked_fill(none, 1)).masked_fill(none, 0)


def whiten(x: Tensor, mean_power: Tensor, floor: float = 1e-8) -> Tensor:
    r"""Divide the spectrum by the root of a mean power spectrum.

    .. math:: \hat x(k) \mapsto \hat x(k) \,/\, \sqrt{\max(P(k),\ \text{floor} \cdot \max P)}

    Args:
        x: images (..., C, H, W).
        mean_power: shifted mean of `power_spectrum` over a set of images, (C, H, W) or any shape that broadcasts against x; the
            maximum is taken over its last two axes.
        floor: smallest power divided by, relative to the largest, in (0, 1]; it keeps rounding from being amplified.

    Returns:
        Images (..., C, H, W), not clipped. Over the set that P was taken from, the mean power is 1 in every bin above the floor.

    Raises:
        ValueError: the shapes do not fit, the floor is not in (0, 1], or mean_power is negative, NaN or zero everywhere.
    """
    _check(x)
    _check(mean_power, axes="(..., H, W)")
    if not 0 < floor <= 1:
        raise ValueError(f"floor must be in (0, 1]; got {floor}")
    largest = mean_power.amax((-2, -1), keepdim=True)
    if not ((mean_power >= 0).all() and (largest > 0).all() and largest.isfinite().all()):
        raise ValueError("mean_power must be finite, not negative, and not zero everywhere")
    return apply_mask(x, hermitian(mean_power.maximum(floor * largest)).rsqrt())


# -- grids and masks --------------------------------------------------------------------------------------------------


def radius(height: int, width: int | None = None) -> Tensor:
    """Distance √(ky² + kx²) from k = 0 in cycles per image on the shifted grid: float64 (height, width), width = height if None."""
    width = height if width is None else width
    if height < 1 or width < 1:
        raise ValueError(f"a grid needs a positive size; got {height} x {width}")
    ky, kx = (torch.arange(n, dtype=torch.float64) - n // 2 for n in (height, width))
    return (ky[:, None] ** 2 + kx**2).sqrt()


def mirror(mask: Tensor) -> Tensor:
    """M(-k) of a shifted mask (..., H, W): the reflection at [H//2, W//2] on the periodic grid."""
    y, x = ((2 * (n // 2) - torch.arange(n, device=mask.device)) % n for n in mask.shape[-2:])
    return mask[..., y[:, None], x]


def is_hermitian(mask: Tensor) -> bool:
    """Whether a shifted real mask (..., H, W) is its own mirror image, up to rounding; NaN never is."""
    return torch.allclose(mask.double(), mirror(mask).double())


def hermitian(mask: Tensor) -> Tensor:
    """The Hermitian part (M(k) + M(-k)) / 2 of a shifted mask (..., H, W): what M does when an imaginary part is dropped."""
    mask = mask if mask.is_floating_point() else mask.to(torch.get_default_dtype())
    return (mask + mirror(mask)) / 2


def apply_mask(x: Tensor, mask: Tensor) -> Tensor:
    """Multiply the spectra of images (..., C, H, W) by a shifted real mask (..., H, W) that broadcasts against them.

    Raises:
        ValueError: the mask is not Hermitian (see `hermitian`), or its last two axes are not those of the images.
    """
    _check(x)
    if mask.shape[-2:] != x.shape[-2:]:
        raise ValueError(f"images {tuple(x.shape)} need a mask (..., {x.shape[-2]}, {x.shape[-1]}); got {tuple(mask.shape)}")
    if not is_hermitian(mask):
        raise ValueError("the mask is not symmetric about k = 0, so its result is not real; use hermitian(mask)")
    return _filter(x, ifftshift(mask, dim=(-2, -1))[..., : x.shape[-1] // 2 + 1])


class Basis(NamedTuple):
    """Real Fourier basis images and their integer frequencies (ky, kx)."""

    images: Tensor
    frequencies: Tensor


def basis(size: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None) -> Basis:
    """The distinct real Fourier basis images cos(2π (ky y + kx x) / N) of an N x N grid, each of unit L2 norm.

    Returns:
        images (K, N, N), orthonormal; frequencies (K, 2) int64, of each pair ±k the one that comes later in the shifted grid.
        K = N²/2 + 2 for even N (514 for 32), (N² + 1)/2 for odd N.

    Raises:
        ValueError: size < 1.
    """
    if size < 1:
        raise ValueError(f"size must be positive; got {size}")
    index = torch.arange(size**2).view(size, size)
    opposite = mirror(index)
    rows, columns = torch.where(index >= opposite)
    k = torch.stack([rows, columns], dim=-1) - size // 2
    n = torch.arange(size)
    cosine = torch.cos(2 * math.pi / size * n.double())
    # cos² has mean 1/2, but 1 where k = -k
    norm = torch.where(index == opposite, 1.0, math.sqrt(0.5))[rows, columns].double() * size
    turns = (k[:, 0, None, None] * n[:, None] + k[:, 1, None, None] * n) % size
    return Basis((cosine[turns] / norm[:, None, None]).to(device=device, dtype=dtype), k.to(device))


# -- inside -----------------------------------------------------------------------------------------------------------


def _check(x: Tensor, axes: str = "(..., C, H, W)") -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"expected a torch tensor {axes}; got {type(x).__name__}")
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"expected float32 or float64 values; got {x.dtype} (of uint8 images: x.float() / 255)")
    if x.ndim < axes.count(",") or 0 in x.shape[-2:]:
        raise ValueError(f"expected a tensor {axes}; got shape {tuple(x.shape)}")


def _filter(x: Tensor, half: Tensor) -> Tensor:
    """Multiply the half spectrum of x by `half`."""
    return irfft2(rfft2(x) * half.to(x), s=x.shape[-2:])


def _squared(spectrum: Tensor) -> Tensor:
    """|X|², several times faster than by way of |X|."""
    return (spectrum * spectrum.conj()).real


def _rounding(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """What the rounding of the DFT may leave where the spectrum is zero; never 0 itself, nor is its square."""
    info = torch.finfo(x.dtype)
    norm = torch.linalg.vector_norm(x.detach(), dim=dims, keepdim=True)
    return (8 * info.eps * norm).clamp_min(2 * math.sqrt(info.tiny))


def _unfold(half: Tensor, width: int, sign: int = 1) -> Tensor:
    """The full spectrum S from its half of kx >= 0, where S(-k) = sign S(k)."""
    rest = half[..., 1 : (width + 1) // 2].flip((-2, -1)).roll(1, -2)
    return torch.cat([half, sign * rest], dim=-1)


def _hamming(n: int) -> Tensor:
    return torch.hamming_window(n, periodic=False, dtype=torch.float64)
