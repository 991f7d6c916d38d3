"""Distributions, tests, distances and clusters."""

import numpy as np
from scipy import stats
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial import KDTree, distance

rng = np.random.default_rng(11)
control = rng.normal(10, 2, 40)
treated = rng.normal(11.5, 2, 40)

test = stats.ttest_ind(control, treated)
t, p = test
interval = test.confidence_interval(0.95)
ranks = stats.mannwhitneyu(control, treated)
normal = stats.shapiro(control)
fit = stats.linregress(control, treated)
rho, _ = stats.spearmanr(control, treated)
chi2, chi_p, dof, expected = stats.chi2_contingency([[10, 20], [30, 15]])
described = stats.describe(control)
modes = stats.mode([1, 2, 2, 3])

distribution = stats.norm(loc=5, scale=2)
quantiles = distribution.ppf([0.025, 0.5, 0.975])
density = stats.gamma.pdf(np.linspace(0, 5, 4), a=2)
draws = stats.poisson.rvs(4, size=5, random_state=3)
loc, scale = stats.norm.fit(control)
kernel = stats.gaussian_kde(control)
ecdf = stats.ecdf([3, 1, 2, 2]).cdf
permuted = stats.permutation_test(
    (control[:8], treated[:8]),
    lambda x, y: np.mean(x) - np.mean(y),
    n_resamples=99,
    rng=np.random.default_rng(1),
    vectorized=False,
)
boot = stats.bootstrap((control,), np.mean, n_resamples=200, rng=np.random.default_rng(2))


# a distribution of one's own
class Triangle(stats.rv_continuous):
    """Rise from 0 to 1."""

    def _pdf(self, x):
        return 2 * x


triangle = Triangle(a=0, b=1, name="triangle")

points = rng.uniform(size=(30, 2))
tree = KDTree(points)
near, index = tree.query([0.5, 0.5], k=3)
matrix = distance.squareform(distance.pdist(points[:4]))
taxi = distance.cdist(points[:2], points[2:4], metric="cityblock")
own = distance.pdist(points[:3], lambda u, v: abs(u - v).max())
clusters = fcluster(linkage(points, "ward"), t=3, criterion="maxclust")

verdict = "different" if p < 0.05 else "the same"
line = f"t = {test.statistic:.3f}, p = {test.pvalue:.2g}: {verdict}"
print(line)

results = {
    "t": t,
    "p": p,
    "interval": (interval.low, interval.high),
    "ranks": ranks.pvalue,
    "normal": normal.statistic,
    "fit": (fit.slope, fit.intercept, fit.rvalue),
    "fields": fit._fields,
    "rho": rho,
    "chi": (chi2, chi_p, dof),
    "expected": expected,
    "described": (described.nobs, described.minmax, described.variance),
    "mode": modes.mode,
    "quantiles": quantiles,
    "density": density,
    "draws": draws,
    "normfit": (loc, scale),
    "kernel": kernel([9, 10, 11]),
    "ecdf": ecdf.probabilities,
    "permuted": permuted.pvalue,
    "boot": boot.confidence_interval.low,
    "triangle": (triangle.cdf(0.5), triangle.mean()),
    "near": near,
    "index": index.tolist(),
    "matrix": matrix,
    "taxi": taxi,
    "own": own,
    "clusters": sorted(np.bincount(clusters).tolist()),
    "line": line,
}
