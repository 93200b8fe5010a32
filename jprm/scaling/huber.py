"""The solver under the laws: sums of powers fitted to log y by the summed Huber loss.

A law is y = E + sum_i A_i x_i^-a_i with all E, A_i > 0. In logarithms, and with every ln x_i taken from its mean, that
is ln y = log-sum-exp(e, s_i - a_i t_i): the parameters `theta` are [e, s_1..s_m, a_1..a_m]. The centring makes e and
s_i the logarithms of the terms at the middle of the data, so one set of starting points serves parameters, tokens and
votes alike.

`minimise` is L-BFGS-B from many starts with analytic gradients, for the fit itself; `resolve` is reweighted least
squares on all bootstrap resamples at once, from the fit onwards.

Invariant: the loss is summed, not averaged. An average is so small that the default tolerance of the optimiser stops
early (Besiroglu et al. 2024 on Hoffmann et al. 2022).
"""

import itertools

import numpy as np

DELTA = 1e-3  # Hoffmann et al. 2022: beyond it a residual of ln y counts linearly
_EXPONENTS = (0.1, 0.25, 0.5, 1.0, 1.75)
_FLOORS = (0.02, 0.3, 0.6, 0.9)  # share of E in y at the middle of the data
DESCENTS = 16
STEEPEST = 5.0  # largest exponent
_WIDTHS = 8
_PATIENCE = 4


def predict(theta: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes ln y [..., n] and its gradient [..., p, n] at theta [..., p] for centred ln x, t [m, n]."""
    m = len(t)
    terms = np.empty((*theta.shape[:-1], m + 1, t.shape[1]))
    terms[..., 0, :] = theta[..., :1]
    terms[..., 1:, :] = theta[..., 1 : m + 1, None] - theta[..., m + 1 :, None] * t
    top = terms.max(axis=-2, keepdims=True)
    terms -= top  # in place from here on: of a thousand resamples these arrays are the largest there are
    shares = np.exp(terms, out=terms)
    total = shares.sum(axis=-2, keepdims=True)
    shares /= total
    gradient = np.empty((*theta.shape[:-1], 2 * m + 1, t.shape[1]))
    gradient[..., : m + 1, :] = shares
    np.multiply(shares[..., 1:, :], -t, out=gradient[..., m + 1 :, :])
    return (top + np.log(total))[..., 0, :], gradient


def huber(residual: np.ndarray, delta: float) -> np.ndarray:
    """Computes r^2 / 2 up to delta, and a linear function beyond."""
    size = np.abs(residual)
    return np.where(size <= delta, 0.5 * residual**2, delta * (size - 0.5 * delta))


def objective(theta: np.ndarray, t: np.ndarray, log_y: np.ndarray, delta: float = DELTA) -> tuple[float, np.ndarray]:
    """Computes the summed Huber loss and its gradient [p] at one theta."""
    predicted, gradient = predict(theta, t)
    residual = predicted - log_y
    loss = float(huber(residual, delta).sum())
    return loss, gradient @ np.clip(residual, -delta, delta)


def starts(m: int, log_y: np.ndarray) -> np.ndarray:
    """Makes starting points [S, p] for m terms: shares of the floor and of the terms, combined with exponents."""
    middle = float(np.median(log_y))
    splits = {tuple(np.array(s) / sum(s)) for s in itertools.product((1.0, 4.0), repeat=m)}
    return np.array(
        [
            [middle + np.log(floor), *(middle + np.log((1 - floor) * np.array(split))), *exponents]
            for floor in _FLOORS
            for split in sorted(splits)
            for exponents in itertools.product(_EXPONENTS, repeat=m)
        ]
    )


def minimise(t: np.ndarray, log_y: np.ndarray, delta: float = DELTA) -> tuple[np.ndarray, float, int]:
    """Finds the best theta [p], its loss, and how many of the descents ended within 1 % of that loss.

    All starts are evaluated and the best `DESCENTS` descended from; the winner is polished.
    """
    from scipy.optimize import minimize

    points = starts(len(t), log_y)
    first = huber(predict(points, t)[0] - log_y, delta).sum(axis=1)
    bounds = [(None, None)] * (len(t) + 1) + [(0.0, STEEPEST)] * len(t)
    found = [
        minimize(objective, p, (t, log_y, delta), "L-BFGS-B", True, bounds=bounds)
        for p in points[np.argsort(first, kind="stable")[:DESCENTS]]
    ]
    best = min(found, key=lambda one: one.fun)
    theta = resolve(best.x, t, log_y[None], delta=delta)[0]
    loss = objective(theta, t, log_y, delta)[0]
    return theta, loss, sum(one.fun <= loss * 1.01 + 1e-12 for one in found)


def resolve(
    start: np.ndarray, t: np.ndarray, log_y: np.ndarray, weights: np.ndarray | None = None, delta: float = DELTA
) -> np.ndarray:
    """Finds the minimisers [R, p] of R problems from one start [p]; log_y [R, n], or [n] with weights [R, n].

    Iteratively reweighted least squares with Levenberg-Marquardt damping: each step lowers the loss or is not taken.
    delta falls from the size of the residuals to its value, which keeps the first steps long. A row that no longer
    moves leaves the batch. Points at one place, such as seeds of a run, share their prediction and its gradient.
    """
    log_y, weight = np.broadcast_arrays(log_y, 1.0 if weights is None else weights)
    out = np.tile(start, (len(log_y), 1))
    if not len(out):
        return out
    spread = float(np.median(np.abs(predict(start, t)[0] - log_y)))
    places, of = np.unique(t, axis=1, return_inverse=True)
    of = of.ravel()  # NumPy 2.0 gives it the axes of t
    order = np.argsort(of, kind="stable")  # the points of a place lie side by side
    data = places, of[order], log_y[:, order], weight[:, order]
    for width in np.geomspace(max(spread, delta), delta, _WIDTHS)[:-1]:
        out = _reweighted(out, *data, width, 3)
    return _reweighted(out, *data, delta, 200)


def _reweighted(
    start: np.ndarray,
    places: np.ndarray,
    of: np.ndarray,
    log_y: np.ndarray,
    weight: np.ndarray,
    delta: float,
    iterations: int,
) -> np.ndarray:
    """places: the different t [m, u]; of: the place of each point [n], in their order."""
    out, live, m = start.copy(), np.arange(len(start)), len(places)
    theta, damping, quiet = start, np.full(len(start), 1e-4), np.zeros(len(start), dtype=int)
    firsts = np.flatnonzero(np.diff(of, prepend=-1))
    log_p, jacobian = predict(theta, places)
    loss = (weight * huber(log_p[:, of] - log_y, delta)).sum(axis=1)
    for _ in range(iterations):
        # 1. The damped normal equations of the squares, each residual weighted as the Huber loss weighs it.
        residual = log_p[:, of] - log_y
        pull = weight / np.maximum(np.abs(residual) / delta, 1.0)
        normal = jacobian * np.add.reduceat(pull, firsts, axis=1)[:, None, :] @ np.swapaxes(jacobian, 1, 2)
        slope = jacobian @ np.add.reduceat(pull * residual, firsts, axis=1)[..., None]
        diagonal = np.einsum("rpp->rp", normal)
        ridge = damping[:, None] * diagonal + 1e-14 * diagonal.max(axis=1, keepdims=True) + 1e-300
        tried = theta - np.linalg.solve(normal + np.eye(2 * m + 1) * ridge[:, None], slope)[..., 0]
        tried[:, m + 1 :] = np.clip(tried[:, m + 1 :], 0.0, STEEPEST)
        # 2. A step is taken where it lowers the loss; elsewhere the damping grows.
        new_p, new_jacobian = predict(tried, places)
        new = (weight * huber(new_p[:, of] - log_y, delta)).sum(axis=1)
        better = new < loss
        quiet = np.where(better & (loss - new > 1e-10 * loss), 0, quiet + 1)
        theta = np.where(better[:, None], tried, theta)
        log_p = np.where(better[:, None], new_p, log_p)
        np.copyto(jacobian, new_jacobian, where=better[:, None, None])
        loss = np.where(better, new, loss)
        damping = np.clip(np.where(better, damping / 5, damping * 8), 1e-12, 1e8)
        # 3. A row that no longer moves leaves the batch.
        out[live] = theta
        keep = quiet < _PATIENCE
        if not keep.any():
            break
        if not keep.all():
            live, theta, log_p, jacobian = live[keep], theta[keep], log_p[keep], jacobian[keep]
            loss, damping, quiet = loss[keep], damping[keep], quiet[keep]
            log_y, weight = log_y[keep], weight[keep]
    return out
