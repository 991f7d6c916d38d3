"""Minimize, fit and find roots with functions of one's own."""

import numpy as np
from scipy import optimize
from scipy.optimize import curve_fit, minimize

path = []


def rosenbrock(x, a=1.0, b=100.0):
    return (a - x[0]) ** 2 + b * (x[1] - x[0] ** 2) ** 2


def gradient(x):
    return np.array([-2 * (1 - x[0]) - 400 * x[0] * (x[1] - x[0] ** 2), 200 * (x[1] - x[0] ** 2)])


found = minimize(
    rosenbrock, [-1.2, 1.0], method="BFGS", jac=gradient, callback=lambda x: path.append(x.copy())
)
simplex = minimize(
    rosenbrock, np.array([0.0, 0.0]), args=(1.0, 10.0), method="Nelder-Mead", options={"xatol": 1e-6}
)
bounded = minimize(
    lambda x: (x[0] - 1) ** 2 + (x[1] - 2.5) ** 2,
    (2, 0),
    method="SLSQP",
    bounds=[(0, None), (0, None)],
    constraints=[{"type": "ineq", "fun": lambda x: 3 - x[0] - x[1]}],
)


# a fit with noise
def decay(t, amplitude, rate, offset):
    return amplitude * np.exp(-rate * t) + offset


rng = np.random.default_rng(5)
t = np.linspace(0, 4, 50)
y = decay(t, 2.5, 1.3, 0.5) + 0.05 * rng.normal(size=t.size)
popt, pcov = curve_fit(decay, t, y, p0=[1, 1, 1])
errors = np.sqrt(np.diag(pcov))

root = optimize.brentq(lambda x: np.cos(x) - x, 0, 1)
newton = optimize.newton(lambda x: x**3 - 2, 1.0, fprime=lambda x: 3 * x**2)
fixed = optimize.root(lambda v: [v[0] + v[1] - 3, v[0] * v[1] - 2], [0.5, 3.5])
residual = optimize.least_squares(lambda p: p[0] * t + p[1] - y, [0, 0], loss="soft_l1")
linear = optimize.linprog([-1, -2], A_ub=[[1, 1], [1, 3]], b_ub=[4, 6])
assigned = optimize.linear_sum_assignment(np.array([[4, 1, 3], [2, 0, 5], [3, 2, 2]]))
scalar = optimize.minimize_scalar(lambda x: (x - 2) ** 2 + 1)


class Counter:
    """Count its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return float(np.sum(np.asarray(x) ** 2))


counter = Counter()
counted = minimize(counter, [3.0, -2.0])


class Stop(Exception):
    pass


def raising(x):
    raise Stop("enough")


try:
    minimize(raising, [1.0])
except Stop as error:
    stopped = str(error)

results = {
    "x": np.round(found.x, 5),
    "success": bool(found.success),
    "message": found.message,
    "nit": found.nit,
    "steps": len(path),
    "last": np.round(path[-1], 4).tolist(),
    "simplex": np.round(simplex["x"], 4),
    "bounded": np.round(bounded.x, 6),
    "popt": np.round(popt, 8),
    "errors": np.round(errors, 8),
    "root": root,
    "newton": newton,
    "fixed": np.round(np.sort(fixed.x), 8),
    "residual": np.round(residual.x, 6),
    "linear": (linear.fun, linear.x),
    "assigned": [part.tolist() for part in assigned],
    "scalar": scalar.x,
    "calls": counter.calls == counted.nfev,
    "keys": sorted(found.keys()),
    "stopped": stopped,
}
