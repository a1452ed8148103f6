"""Special functions written in the scalar algebra, for f32 and f64.

Invariant: as in the formulas above; the error of each is what its record says.  The coefficients in
`tables/` are made by tests/support/fits/make.py.
"""

from .bessel import j0, j1, y0, y1
from .beta import beta, betaln, binom
from .gamma import digamma, gamma, gammaln, gammasgn
from .incomplete import gamma_density, gammainc, gammaincc
from .incomplete_beta import beta_density, betainc, betaincc
from .information import (
    cosm1,
    entr,
    exprel,
    kl_div,
    log_expit,
    logit,
    rel_entr,
    sinc,
    xlog1py,
    xlogy,
)
from .integrals import dawsn, exp1, expi, expn
from .modified import i0, i0e, i1, i1e, k0, k0e, k1, k1e
from .normal import erfcinv, erfcx, erfinv, log_ndtr, ndtr, ndtri
from .odds import fdtr, stdtr
from .zeta import polygamma, zeta

__all__ = [
    "beta",
    "beta_density",
    "betainc",
    "betaincc",
    "betaln",
    "binom",
    "cosm1",
    "dawsn",
    "digamma",
    "entr",
    "erfcinv",
    "erfcx",
    "erfinv",
    "exp1",
    "expi",
    "expn",
    "exprel",
    "fdtr",
    "gamma",
    "gamma_density",
    "gammainc",
    "gammaincc",
    "gammaln",
    "gammasgn",
    "i0",
    "i0e",
    "i1",
    "i1e",
    "j0",
    "j1",
    "k0",
    "k0e",
    "k1",
    "k1e",
    "kl_div",
    "log_expit",
    "log_ndtr",
    "logit",
    "ndtr",
    "ndtri",
    "polygamma",
    "rel_entr",
    "sinc",
    "stdtr",
    "xlog1py",
    "xlogy",
    "y0",
    "y1",
    "zeta",
]
