"""How far a figure of so many frames can be trusted: 95 % confidence intervals."""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Interval = tuple[float, float]  # from 0 to 1, both ends in it

_Z = NormalDist().inv_cdf(0.975)


def share_interval(part: float, whole: float) -> Interval:
    """Wilson's score interval of a share (Wilson 1927; Brown, Cai, DasGupta 2001); sensible at 0 and 1 too.

    Raises:
        ValueError: It is a share of nothing, or no share.
    """
    if not 0 <= part <= whole or whole <= 0:
        raise ValueError(f"{part} of {whole} is no share")
    share, spread = part / whole, _Z**2 / whole
    middle = (share + spread / 2) / (1 + spread)
    reach = _Z * math.sqrt(share * (1 - share) / whole + spread / (4 * whole)) / (1 + spread)
    return max(0.0, min(share, middle - reach)), min(1.0, max(share, middle + reach))


def auroc_interval(scores: ArrayLike, is_defective: ArrayLike) -> Interval:
    """DeLong's variance (DeLong, DeLong, Clarke-Pearson 1988) on the logit scale.

    Where it is zero, as it is where all frames are told apart, no spread can be seen. Then the interval is
    that of as many independent pairs as there are frames of the rarer kind, which is wide and safe.

    Raises:
        ValueError: There are no normal or no defective frames.
    """
    values, bad = np.asarray(scores, np.float64), np.asarray(is_defective, bool)
    normals, defectives = values[~bad], values[bad]
    if not len(normals) or not len(defectives):
        raise ValueError(f"AUROC needs both kinds: {len(normals)} normal, {len(defectives)} defective frames")
    beaten = _share_below(defectives, normals)  # of each defective frame: the normal ones it is worse than
    beating = 1 - _share_below(normals, defectives)
    auroc = float(beaten.mean())
    variance = _variance_of_mean(beaten) + _variance_of_mean(beating)
    if not (0 < auroc < 1) or variance <= 0:
        pairs = min(len(normals), len(defectives))
        return share_interval(auroc * pairs, pairs)
    middle = math.log(auroc / (1 - auroc))
    reach = _Z * math.sqrt(variance) / (auroc * (1 - auroc))
    return 1 / (1 + math.exp(reach - middle)), 1 / (1 + math.exp(-reach - middle))


def _share_below(ones: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each of ``ones`` the share of ``others`` below it, ties counting half."""
    ascending = np.sort(others)
    below = np.searchsorted(ascending, ones, "left")
    at_most = np.searchsorted(ascending, ones, "right")
    return np.asarray((below + at_most) / (2 * len(ascending)), np.float64)


def _variance_of_mean(shares: NDArray[np.float64]) -> float:
    return float(shares.var(ddof=1) / len(shares)) if len(shares) > 1 else 0.0
