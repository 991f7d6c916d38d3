"""Filter a signal, solve sparse systems, walk a graph."""

import numpy as np
import scipy.sparse as sp
from scipy import fft, linalg, ndimage, signal
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.sparse.linalg import LinearOperator, cg, spsolve

rate = 200
t = np.arange(0, 1, 1 / rate)
clean = np.sin(2 * np.pi * 5 * t)
noisy = clean + 0.5 * np.sin(2 * np.pi * 60 * t)

b, a = signal.butter(4, 20, fs=rate)
filtered = signal.filtfilt(b, a, noisy)
peaks, properties = signal.find_peaks(filtered, height=0.5)
frequencies, power = signal.welch(noisy, fs=rate, nperseg=128)
spectrum = np.abs(fft.rfft(noisy))
strongest = fft.rfftfreq(len(t), 1 / rate)[spectrum.argmax()]
smooth = signal.savgol_filter(noisy, 11, 3)
convolved = signal.convolve([1, 2, 3], [0, 1, 0.5])

# sparse
n = 50
laplace = sp.diags([-1, 2, -1], [-1, 0, 1], shape=(n, n), format="csr")
rhs = np.ones(n)
solved = spsolve(laplace.tocsc(), rhs)
iterations = []
conjugate, info = cg(laplace, rhs, rtol=1e-10, callback=lambda xk: iterations.append(1))
matrix_free = LinearOperator((n, n), matvec=lambda v: laplace @ v, dtype=float)
free, _ = cg(matrix_free, rhs, rtol=1e-10)
coo = sp.coo_matrix(([1, 2, 3], ([0, 1, 1], [1, 0, 2])), shape=(3, 3))
entries = [(int(i), int(j), int(v)) for i, j, v in zip(coo.row, coo.col, coo.data)]
dense = coo.toarray()
sliced = laplace[:3, :3].todense()
added = (laplace + sp.identity(n)).sum()
scaled = (2 * laplace * 0.5 - laplace).nnz

# graph
graph = sp.csr_matrix([[0, 7, 9, 0], [0, 0, 1, 15], [0, 0, 0, 2], [0, 0, 0, 0]])
costs, before = dijkstra(graph, indices=0, return_predecessors=True)
count, labels = connected_components(graph, directed=False)

# dense linear algebra and images
m = np.array([[4.0, 2.0], [2.0, 3.0]])
factor = linalg.cholesky(m, lower=True)
lu, pivots = linalg.lu_factor(m)
exponential = linalg.expm(np.zeros((2, 2)))
image = np.zeros((20, 20))
image[5:9, 5:9] = image[12:15, 10:18] = 1
labelled, objects = ndimage.label(image)
centres = ndimage.center_of_mass(image, labelled, range(1, objects + 1))
blurred = ndimage.gaussian_filter(image, sigma=1)
generic = ndimage.generic_filter(image[:6, :6], lambda values: values.max(), size=3)

results = {
    "peaks": peaks.tolist(),
    "heights": properties["peak_heights"],
    "loudest": frequencies[power.argmax()],
    "strongest": strongest,
    "smooth": smooth[:5],
    "convolved": convolved,
    "solved": solved[:4],
    "info": info,
    "iterations": len(iterations) > 0,
    "same": np.allclose(conjugate, solved) and np.allclose(free, solved),
    "entries": entries,
    "dense": dense,
    "sliced": np.asarray(sliced),
    "added": added,
    "scaled": scaled,
    "costs": costs,
    "before": before.tolist(),
    "components": (count, labels),
    "factor": factor,
    "solution": linalg.lu_solve((lu, pivots), [1, 2]),
    "exponential": exponential,
    "objects": objects,
    "centres": [tuple(round(float(v), 6) for v in centre) for centre in centres],
    "blurred": blurred.sum(),
    "generic": generic,
    "format": laplace.format,
    "shape": laplace.shape,
}
