"""Linear algebra with threads, random numbers, and files."""

import numpy as np

rng = np.random.default_rng(1)
a = rng.normal(size=(400, 400))
q, r = np.linalg.qr(a)
assert np.allclose(q @ r, a)
assert np.allclose(np.linalg.inv(a) @ a, np.eye(400), atol=1e-6)
u, s, vt = np.linalg.svd(a, full_matrices=False)
assert np.allclose((u * s) @ vt, a)
assert np.fft.ifft(np.fft.fft(a[0])).real.std() > 0

mapped = np.memmap("big.dat", dtype="f8", mode="w+", shape=(500, 1000))
mapped[:] = 2.0
mapped.flush()
again = np.memmap("big.dat", dtype="f8", mode="r", shape=(500, 1000))
assert again.sum() == 1_000_000
np.save("a.npy", a)
np.savez_compressed("both.npz", a=a, s=s)
assert np.array_equal(np.load("a.npy", mmap_mode="r"), a)
assert np.array_equal(np.load("both.npz")["s"], s)
np.savetxt("s.csv", s, delimiter=",")
assert np.allclose(np.loadtxt("s.csv"), s)
