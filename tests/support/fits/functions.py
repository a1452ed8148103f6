"""The smooth functions whose polynomials the special functions are made of: file -> name -> row."""

from __future__ import annotations

import mpmath as mp
from make import Fit


def erfcinv(q: mp.mpf) -> mp.mpf:
    """The inverse of erfc for 0 < q < 1, by Newton's method on the logarithm."""
    w = -mp.log(q)
    y = mp.sqrt(w) * mp.mpf("0.6") if w < 3 else mp.sqrt(w - mp.log(mp.pi * w) / 2)
    for _ in range(60):
        value = mp.erfc(y)
        step = (mp.log(value) - mp.log(q)) * value * mp.sqrt(mp.pi) / 2 * mp.exp(y * y)
        y += step
        if abs(step) < mp.mpf(10) ** (-mp.mp.dps + 5):
            break
    return y


def moebius(centre: float, function, low: float, high: float, only: str = "") -> Fit:
    """A row in u = (x - c)/(x + c), for x from low to high."""
    c = mp.mpf(centre)
    at = lambda x: (mp.mpf(x) - c) / (mp.mpf(x) + c) if x != mp.inf else mp.mpf(1)  # noqa: E731
    return Fit(lambda u: function(c * (1 + u) / (1 - u)), at(low), at(high), only)


def shifted(centre: float, function, low: float, high: float, only: str = "") -> Fit:
    """A row in v = x - c."""
    c = mp.mpf(centre)
    return Fit(lambda v: function(c + v), low - c, high - c, only)


def inverse_central(z):
    if abs(z) < mp.mpf(10) ** -30:
        return mp.sqrt(mp.pi) / 2
    return mp.erfinv(mp.sqrt(z)) / mp.sqrt(z)


def inverse_tail(t):
    return erfcinv(mp.exp(-t * t)) / t


def erfcx_far(v):
    if v < mp.mpf(10) ** -5:
        return mp.nsum(lambda k: mp.fac2(2 * k - 1) * (-v / 2) ** k, [0, 9]) / mp.sqrt(mp.pi)
    a = 1 / mp.sqrt(v)
    return a * mp.exp(a * a) * mp.erfc(a)


NORMAL = {
    "CENTRAL": Fit(inverse_central, 0, 0.25),
    "TAIL": moebius(2.25, inverse_tail, 0.83, 6.1),
    "ERFCX_FAR": Fit(erfcx_far, 0, 0.01),
    "FAR_TAIL": moebius(12.5, inverse_tail, 6.05, 27.4),
}


def at_infinity(function):
    """A function of v = 1/x^2 out of one of x that tends to a limit."""
    return lambda v: function(1 / mp.sqrt(max(v, mp.mpf(10) ** -12)))


def stirling(x):
    return x * (mp.loggamma(x) - (x - 0.5) * mp.log(x) + x - mp.log(2 * mp.pi) / 2)


def digamma_rest(x):
    return x * x * (mp.log(x) - 1 / (2 * x) - mp.digamma(x))


def gamma_factor(w):
    x = 1 / max(w, mp.mpf(10) ** -25)
    return mp.sqrt(2 * mp.pi) * mp.exp(stirling(x) / x)


def lgamma_ratio(x):
    return mp.loggamma(x) / ((x - 1) * (x - 2))


def digamma_ratio(x):
    return mp.digamma(x) / (x - mp.findroot(mp.digamma, mp.mpf("1.4616321449683623")))


GAMMA = {
    "STIRLING": Fit(at_infinity(stirling), 0, 1 / 64),
    "LGAMMA_NEAR": moebius(1.25, lgamma_ratio, 0.5, 3),
    "LGAMMA_MIDDLE": moebius(5, lgamma_ratio, 3, 8),
    "GAMMA_UNIT": shifted(1.5, mp.gamma, 1, 2),
    "GAMMA_FACTOR": Fit(gamma_factor, 0, 1 / 8),
    "DIGAMMA_NEAR": moebius(1.75, digamma_ratio, 1, 3),
    "DIGAMMA_MIDDLE": moebius(5, digamma_ratio, 3, 8),
    "DIGAMMA_REST": Fit(at_infinity(digamma_rest), 0, 1 / 64),
}


def even(function, limit):
    """A function of z = x^2 out of an even one of x."""
    return lambda z: function(mp.sqrt(z)) if z > mp.mpf(10) ** -30 else mp.mpf(limit)


def over(function):
    """A function of v = 1/x out of one of x that tends to a limit."""
    return lambda v: function(1 / max(v, mp.mpf(10) ** -7))


def root_of(function, start):
    """The function with its zero next to `start` divided out."""
    at = mp.findroot(function, mp.mpf(start))

    def quotient(x):
        if abs(x - at) < mp.mpf(10) ** -20:
            return mp.diff(function, at)
        return function(x) / (x - at)

    return quotient


def bessel_j(order):
    return lambda x: mp.besselj(order, x)


def bessel_y(order):
    return lambda x: mp.bessely(order, x)


def y_rest(order):
    """Y less its logarithm (and pole), over x^order, in z."""

    def rest(x):
        value = mp.bessely(order, x) - 2 / mp.pi * mp.log(x / 2) * mp.besselj(order, x)
        return value if order == 0 else (value + 2 / (mp.pi * x)) / x

    return rest


def phases(order):
    """(P, x Q) of DLMF 10.17.3 and 10.17.4, from the functions themselves."""

    def both(x):
        angle = x - mp.pi / 4 - order * mp.pi / 2
        size = mp.sqrt(mp.pi * x / 2)
        first, second = mp.besselj(order, x), mp.bessely(order, x)
        return (
            size * (first * mp.cos(angle) + second * mp.sin(angle)),
            x * size * (second * mp.cos(angle) - first * mp.sin(angle)),
        )

    return both


def limited(function, smallest):
    """In v = 1/x^2, not below `smallest`: there the terms are linear in v to the digits wanted."""

    def value(v):
        if v >= smallest:
            return function(1 / mp.sqrt(v))
        low, high = (
            function(1 / mp.sqrt(mp.mpf(smallest))),
            function(1 / mp.sqrt(2 * mp.mpf(smallest))),
        )
        return low + (v / smallest - 1) * (high - low)

    return value


Y0_REST_LIMIT = 2 * mp.euler / mp.pi
FAR = mp.mpf(2) ** -40

BESSEL = {
    "J0_NEAR": Fit(even(bessel_j(0), 1), 0, 4),
    "J0_FIRST": shifted(3.5, root_of(bessel_j(0), 2.4), 2, 5),
    "J0_SECOND": shifted(6.5, root_of(bessel_j(0), 5.5), 5, 8),
    "J1_NEAR": Fit(even(lambda x: mp.besselj(1, x) / x, 0.5), 0, 4),
    "J1_FIRST": shifted(3.5, root_of(bessel_j(1), 3.8), 2, 5),
    "J1_SECOND": shifted(6.5, root_of(bessel_j(1), 7.0), 5, 8),
    "Y0_NEAR": Fit(even(y_rest(0), Y0_REST_LIMIT), 0, 4),
    "Y0_FIRST": shifted(3.5, root_of(bessel_y(0), 3.95), 2, 5),
    "Y0_SECOND": shifted(6.5, root_of(bessel_y(0), 7.08), 5, 8),
    "Y1_NEAR": Fit(even(y_rest(1), (2 * mp.euler - 1) / (2 * mp.pi)), 0, 4),
    "Y1_FIRST": shifted(3.5, root_of(bessel_y(1), 2.197), 2, 5),
    "Y1_SECOND": shifted(6.5, root_of(bessel_y(1), 5.43), 5, 8),
    "P0": Fit(limited(lambda x: phases(0)(x)[0], FAR), 0, 1 / 64),
    "Q0": Fit(limited(lambda x: phases(0)(x)[1], FAR), 0, 1 / 64),
    "P1": Fit(limited(lambda x: phases(1)(x)[0], FAR), 0, 1 / 64),
    "Q1": Fit(limited(lambda x: phases(1)(x)[1], FAR), 0, 1 / 64),
}


def bessel_k_rest(order):
    """K less its logarithm (and pole), over x^order, in z."""

    def rest(x):
        sign = (-1) ** order
        value = mp.besselk(order, x) + sign * mp.log(x / 2) * mp.besseli(order, x)
        return value if order == 0 else (value - 1 / x) / x

    return rest


def scaled(function, sign):
    return lambda x: mp.sqrt(x) * mp.exp(sign * x) * function(x)


MODIFIED = {
    "I0_NEAR": Fit(even(lambda x: mp.besseli(0, x), 1), 0, 64),
    "I1_NEAR": Fit(even(lambda x: mp.besseli(1, x) / x, 0.5), 0, 64),
    "I0_FAR": Fit(over(scaled(lambda x: mp.besseli(0, x), -1)), 0, 1 / 8),
    "I1_FAR": Fit(over(scaled(lambda x: mp.besseli(1, x), -1)), 0, 1 / 8),
    "K0_NEAR": Fit(even(bessel_k_rest(0), -mp.euler), 0, 1),
    "K1_NEAR": Fit(even(bessel_k_rest(1), (2 * mp.euler - 1) / 4), 0, 1),
    "K0_FAR": shifted(0.5, over(scaled(lambda x: mp.besselk(0, x), 1)), 0, 1),
    "K1_FAR": shifted(0.5, over(scaled(lambda x: mp.besselk(1, x), 1)), 0, 1),
}


def dawson(x):
    return mp.sqrt(mp.pi) / 2 * mp.exp(-x * x) * mp.erfi(x)


def dawson_far(x):
    return x * (
        dawson(x)
        if x < 100
        else mp.nsum(lambda k: mp.fac2(2 * k - 1) / (2 * x * x) ** k, [0, 12]) / (2 * x)
    )


def e1_near(x):
    return (mp.e1(x) + mp.log(x) + mp.euler) / x if x > mp.mpf(10) ** -30 else mp.mpf(1)


def e1_far(x):
    return x * mp.exp(x) * mp.e1(x)


def ei_ratio(x):
    zero = mp.findroot(mp.ei, mp.mpf("0.37250741078136663446"))
    return (mp.ei(x) - mp.log(x / zero)) / (x - zero)


def ei_far(x):
    return x * mp.exp(-x) * mp.ei(x)


INTEGRALS = {
    "DAWSON_NEAR": Fit(even(lambda x: dawson(x) / x, 1), 0, 1),
    "DAWSON_FIRST": shifted(2, dawson, 1, 3),
    "DAWSON_SECOND": shifted(4, dawson, 3, 5),
    "DAWSON_FAR": Fit(at_infinity(dawson_far), 0, 1 / 25),
    "E1_NEAR": Fit(e1_near, 0, 1),
    "E1_MIDDLE": shifted(0.6875, over(e1_far), 0.33, 1),
    "E1_FAR": shifted(0.171875, over(e1_far), 0, 0.34),
    "EI_NEAR": shifted(3, ei_ratio, 0.001, 6),
    "EI_MIDDLE": shifted(0.125, over(ei_far), 1 / 12, 1 / 6),
    "EI_LARGE": shifted(0.0625, over(ei_far), 1 / 24, 1 / 12),
    "EI_FAR": Fit(over(ei_far), 0, 1 / 24),
}
TEMME_TERMS = 12
TEMME_FROM = 20


def temme_series(size: int = 90) -> list[list[mp.mpf]]:
    """Taylor coefficients in eta of c_k, DLMF 8.12.11, by recurrence."""
    mu = [mp.mpf(0), mp.mpf(1)]  # mu mu' = eta (1 + mu)
    for m in range(2, size + 2):
        inner = mp.fsum(mu[i] * mu[m + 1 - i] for i in range(2, m))
        mu.append((2 * mu[m - 1] / (m + 1) - inner) / 2)
    inverse = [mp.mpf(1)]  # eta / mu
    for m in range(1, size):
        inverse.append(-mp.fsum(mu[j + 1] * inverse[m - j] for j in range(1, m + 1)))
    scaled = stirling_scaled(TEMME_TERMS)
    rows = [inverse[1:]]
    for k in range(1, TEMME_TERMS):
        last = rows[-1]
        slope = [n * c for n, c in enumerate(last)][1:]  # c', over eta: one power less
        sign = (-1) ** k * scaled[k]
        rows.append([slope[n + 1] + sign * inverse[n + 1] for n in range(len(slope) - 1)])
    return rows


def stirling_scaled(size: int) -> list[mp.mpf]:
    """Coefficients of gamma(a) e^a a^(1/2 - a) / sqrt(2 pi) in 1/a, DLMF 5.11.3."""
    logs = [mp.mpf(0)] * (size + 1)
    for j in range(1, size // 2 + 1):
        logs[2 * j - 1] = mp.bernoulli(2 * j) / (2 * j * (2 * j - 1))
    out = [mp.mpf(1)]
    for n in range(1, size + 1):
        out.append(mp.fsum(k * logs[k] * out[n - k] for k in range(1, n + 1)) / n)
    return out


def temme(k: int):
    made: list[list[mp.mpf]] = []

    def value(eta):
        if not made:
            made.extend(temme_series())
        return mp.polyval(made[k][::-1], eta)

    return value


INCOMPLETE = {
    f"TEMME{k}": Fit(temme(k), -1.3, 1.45, "f64" if k > 4 else "", TEMME_FROM**k / 8)
    for k in range(TEMME_TERMS)
}
FILES = {
    "normal": NORMAL,
    "gamma": GAMMA,
    "bessel": BESSEL,
    "modified": MODIFIED,
    "integrals": INTEGRALS,
    "incomplete": INCOMPLETE,
}
