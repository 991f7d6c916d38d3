"""Integrate, solve differential equations, interpolate."""

import math

import numpy as np
import scipy.integrate
from scipy import interpolate, special
from scipy.integrate import quad, solve_ivp

area, error = quad(lambda x: np.exp(-(x**2)), -np.inf, np.inf)
bell = quad(math.sin, 0, math.pi)[0]
with_args = quad(lambda x, a, b: a * x**2 + b, 0, 1, args=(3, 1))[0]
double, _ = scipy.integrate.dblquad(lambda y, x: x * y, 0, 1, lambda x: 0, lambda x: 1 - x)
trapezoid = scipy.integrate.trapezoid([1, 4, 9], x=[1, 2, 3])
simpson = scipy.integrate.simpson(np.arange(5) ** 2, dx=0.5)


def lotka_volterra(t, z, a, b, c, d):
    x, y = z
    return [a * x - b * x * y, -c * y + d * x * y]


solution = solve_ivp(lotka_volterra, [0, 5], [10, 5], args=(1.5, 1, 3, 1), dense_output=True, max_step=0.5)
times = np.linspace(0, 5, 6)
prey, predators = solution.sol(times)


def ground(t, y):
    return y[0]


ground.terminal = True
ground.direction = -1
cannon = solve_ivp(lambda t, y: [y[1], -9.81], (0, 10), [0.0, 20.0], events=ground)

# interpolation
x = np.linspace(0, 10, 11)
y = np.cos(-(x**2) / 9.0)
linear = interpolate.interp1d(x, y)
spline = interpolate.CubicSpline(x, y)
points = [0.5, 1.5, 9.9]
smooth = interpolate.make_splrep(x, y, s=0)
grid = interpolate.RegularGridInterpolator((np.arange(3), np.arange(4)), np.arange(12.0).reshape(3, 4))
slope = spline.derivative()(points)
outside = None
try:
    linear(11)
except ValueError as problem:
    outside = str(problem).split(".")[0]

gamma = special.gamma([1, 2, 3, 4.5])
bessel = special.jv(0, np.array([0.0, 2.404825557695773]))
choose = special.comb(5, 2, exact=True)

results = {
    "area": area,
    "close": math.isclose(area, math.sqrt(math.pi)),
    "bell": bell,
    "args": with_args,
    "double": double,
    "trapezoid": trapezoid,
    "simpson": simpson,
    "prey": prey,
    "predators": predators,
    "status": solution.status,
    "shape": solution.y.shape,
    "landed": cannon.t_events[0][0],
    "linear": linear(points),
    "spline": spline(points),
    "smooth": smooth(points),
    "grid": grid([[0.5, 1.5], [1.5, 2.5]]),
    "slope": slope,
    "outside": outside,
    "gamma": gamma,
    "bessel": np.round(bessel, 12),
    "choose": choose,
}
