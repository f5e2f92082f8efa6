"""What the fast engine compiles: the iterations and the energies of an image, in the cache of a processor
core.

An image is a flat vector of H W pixels, so that "below" is W further and "to the right" 1 further. The dual
field has W zeros in front and zeros in its last row and column, so that no border needs a case of its own. An
iteration passes over strips of rows. The loops are short and touch few vectors each: that is what the
compiler turns into vector instructions.
"""

from math import sqrt
from types import FunctionType

import numpy as np

from specfreq.tv import native

STRIP = 1024  # pixels in a strip, about: few enough for the first cache, enough to make a loop worthwhile


def entry(function):
    """A function that Python calls, for each precision.

    One name for each: processes that compile at the same time then write the same to each file.
    """
    kernels = {}
    for kind in ("float32", "float64"):
        name = f"{function.__name__}_{kind}"
        copy = FunctionType(function.__code__, function.__globals__, name)
        copy.__module__, copy.__qualname__ = function.__module__, name
        kernels[kind] = native.Compiled(copy)
    return kernels


@native.inner
def _fill(out, value):
    for k in range(out.size):
        out[k] = value


@native.inner
def _shift(out, values, by):
    for k in range(out.size):
        out[k] = values[k] + by


@native.inner
def _transposed_gradient(out, y1, y2, low, width):
    """Rows of K^T y, from pixel `low` on, of a padded dual variable."""
    n = out.size
    above, here, left, right = y1[low:], y1[low + width :], y2[low + width - 1 :], y2[low + width :]
    for k in range(n):
        out[k] = (above[k] - here[k]) + (left[k] - right[k])


@native.inner
def _primal(x, ahead, g, d, a, b, c, theta, rho):
    for k in range(d.size):
        new = a * x[k] + b * g[k] - c * d[k]
        change = new - x[k]
        ahead[k] = new + theta * change
        x[k] += rho * change


@native.inner
def _proximal_point(out, x, g, d, a, b, c):
    for k in range(d.size):
        out[k] = a * x[k] + b * g[k] - c * d[k]


@native.inner
def _ascend(q, y, there, here, sigma):
    for k in range(q.size):
        q[k] = y[k] + sigma * (there[k] - here[k])


@native.inner
def _add_squares(s, q1, q2):
    for k in range(s.size):
        s[k] += q1[k] * q1[k] + q2[k] * q2[k]


@native.inner
def _shrinkage(s):
    one = s.dtype.type(1)
    for k in range(s.size):
        s[k] = one / sqrt(s[k] if s[k] > one else one)


@native.inner
def _relax(y, q, s, rho):
    for k in range(q.size):
        y[k] += rho * (q[k] * s[k] - y[k])


@native.inner
def _extrapolate(y, p, q, s, beta, inside):
    for k in range(q.size):
        new = q[k] * s[k] * inside
        y[k] = new + beta * (new - p[k])
        p[k] = new


@native.inner
def _scaled(p, q, s, factor):
    for k in range(q.size):
        p[k] = q[k] * s[k] * factor


@native.inner
def _iterate(g, x, ahead, y, p, new, q, s, d, numbers, momentum, keep, width):
    """One iteration; with `keep` it leaves the proximal points in `new` and `p`, p in the unit balls in spite
    of rounding.
    """
    channels, pixels = g.shape
    one = g.dtype.type(1)
    inside = one - (4 + channels) * np.finfo(g.dtype).eps
    a, b, c, sigma, theta, rho, beta = (
        numbers[0],
        numbers[1],
        numbers[2],
        numbers[3],
        numbers[4],
        numbers[5],
        numbers[6],
    )
    strip = d.size
    for low in range(0, pixels, strip):
        high = min(low + strip, pixels)
        first, last = (
            max(low - width, 0),
            high if high == pixels else high - width,
        )  # the dual step needs the row below
        n = last - first
        _fill(s[:n], 0)
        for channel in range(channels):
            xc, gc, dc, ac = x[channel, low:high], g[channel, low:high], d[: high - low], ahead[channel]
            y1, y2 = y[channel, 0], y[channel, 1]
            _transposed_gradient(dc, y1, y2, low, width)
            if keep:
                _proximal_point(new[channel, low:high], xc, gc, dc, a, b, c)
            _primal(xc, ac[low:high], gc, dc, a, b, c, theta, rho)
            if high == pixels:
                _shift(ac[pixels:], ac[pixels - width :], 0)
            q1, q2 = q[channel, 0, :n], q[channel, 1, :n]
            _ascend(q1, y1[width + first :], ac[first + width :], ac[first:], sigma)
            _ascend(q2, y2[width + first :], ac[first + 1 :], ac[first:], sigma)
            for k in range(width - 1, n, width):
                q2[k] = 0
            _add_squares(s[:n], q1, q2)
        _shrinkage(s[:n])
        for channel in range(channels):
            for axis in range(2):
                qa, ya, pa = (
                    q[channel, axis, :n],
                    y[channel, axis, width + first :],
                    p[channel, axis, width + first :],
                )
                if momentum:
                    _extrapolate(ya, pa, qa, s, beta, inside)
                else:
                    if keep:
                        _scaled(pa, qa, s, inside)
                    _relax(ya, qa, s, rho)


@native.inner
def _minimiser(v, f, p1, p2, weight, width):
    """f - weight K^T p in double precision: the image that fits the dual variable p best."""
    above, here, left, right = p1, p1[width:], p2[width - 1 :], p2[width:]
    for k in range(v.size):
        v[k] = f[k] - weight * ((np.float64(above[k]) - here[k]) + (np.float64(left[k]) - right[k]))


@native.inner
def _differences(out, there, here):
    for k in range(out.size):
        out[k] = there[k] - here[k]


@native.inner
def _add_products(squares, products, below, right, p1, p2):
    for k in range(squares.size):
        squares[k] += below[k] * below[k] + right[k] * right[k]
        products[k] += below[k] * p1[k] + right[k] * p2[k]


@native.inner
def _add_lengths(primal, slack, squares, products):
    for k in range(squares.size):
        length = sqrt(squares[k])
        primal[k] += length
        slack[k] += length - products[k]


@native.inner
def _add_distances(primal, misfit, u, f, v, scale):
    for k in range(u.size):
        primal[k] += scale * (u[k] - f[k]) ** 2
        misfit[k] += scale * (u[k] - v[k]) ** 2


@native.inner
def _total(values):
    total = 0.0
    for value in values:
        total += value
    return total


@native.inner
def _energies(image, f, v, p, u, weight, sums, width):
    """TV(u) + |u - f|² / 2 weight; then the parts of the gap, Σ |K u| - K u · p and |u - v|² / 2 weight."""
    channels, pixels = f.shape
    scale, strip = 0.5 / weight, sums.shape[1]
    for part in range(3):
        _fill(sums[part], 0)
    for channel in range(channels):
        _shift(u[channel, :pixels], image[channel], 0)
        _shift(u[channel, pixels:], u[channel, pixels - width :], 0)
    for low in range(0, pixels, strip):
        n = min(strip, pixels - low)
        squares, products, below, right = sums[3, :n], sums[4, :n], sums[5, :n], sums[6, :n]
        _fill(squares, 0)
        _fill(products, 0)
        for channel in range(channels):
            here = u[channel, low:]
            _differences(below, here[width:], here)
            _differences(right, here[1:], here)
            for k in range(width - 1, n, width):
                right[k] = 0
            _add_products(
                squares, products, below, right, p[channel, 0, width + low :], p[channel, 1, width + low :]
            )
            _add_distances(sums[0], sums[2], here[:n], f[channel, low:], v[channel, low:], scale)
        _add_lengths(sums[0], sums[1], squares, products)
    return _total(sums[0]), _total(sums[1]), _total(sums[2])


@entry
def begin(active, f, shift, weight, g, x, new, p, width):
    """Take the midranges off and start at the images that fit the dual fields best."""
    v = np.empty(f.shape[2])
    for k in active:
        for channel in range(f.shape[1]):
            _shift(g[k, channel], f[k, channel], -shift[k, channel])
            _minimiser(v, g[k, channel], p[k, channel, 0], p[k, channel, 1], weight[k], width)
            _shift(x[k, channel], v, 0)
            _shift(new[k, channel], v, 0)


@entry
def advance(active, table, count, momentum, g, x, y, p, new, width):
    channels, pixels = g.shape[1:]
    strip = min(max(1, STRIP // width) * width, pixels)
    ahead, q = np.empty((channels, pixels + width), g.dtype), np.empty((channels, 2, strip + width), g.dtype)
    s, d = np.empty(strip + width, g.dtype), np.empty(strip, g.dtype)
    for k in active:
        for iteration in range(count):
            numbers = table[min(iteration, len(table) - 1), :, k]
            _iterate(
                g[k],
                x[k],
                ahead,
                y[k],
                p[k],
                new[k],
                q,
                s,
                d,
                numbers,
                momentum,
                iteration == count - 1,
                width,
            )


@entry
def certify(active, f, shift, mean, flat, weight, new, p, image, energies, fitted, width):
    channels, pixels = f.shape[1:]
    strip = min(max(1, STRIP // width) * width, pixels)
    u, v, sums = np.empty((channels, pixels + width)), np.empty((channels, pixels)), np.empty((7, strip))
    for k in active:
        for channel in range(channels):
            _minimiser(v[channel], f[k, channel], p[k, channel, 0], p[k, channel, 1], weight[k], width)
            if fitted[k]:
                _shift(image[k, channel], v[channel], 0)
            else:
                _shift(image[k, channel], new[k, channel], shift[k, channel])
        for attempt in range(2):
            primal, slack, misfit = _energies(image[k], f[k], v, p[k], u, weight[k], sums, width)
            energies[0, k], energies[1, k] = primal, slack + misfit
            if attempt == 0:
                energies[2, k], energies[3, k] = slack, misfit
            if flat[k] > primal:
                break
            for channel in range(channels):
                _fill(image[k, channel], mean[k, channel])
