"""Clusters, texts, anomalies and learning in pieces."""

import numpy as np
from sklearn import cluster, metrics, preprocessing
from sklearn.datasets import make_blobs, make_moons
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.manifold import MDS
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.naive_bayes import MultinomialNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeClassifier, export_text

X, truth = make_blobs(n_samples=90, centers=3, cluster_std=0.6, random_state=4)
model = cluster.KMeans(n_clusters=3, n_init=5, random_state=0).fit(X)
sizes = np.bincount(model.labels_)
centres = model.cluster_centers_[model.cluster_centers_[:, 0].argsort()]
score = metrics.silhouette_score(X, model.labels_)
inertias = {k: cluster.KMeans(n_clusters=k, n_init=2, random_state=0).fit(X).inertia_ for k in range(2, 5)}
moons, _ = make_moons(60, noise=0.05, random_state=0)
density = cluster.DBSCAN(eps=0.3).fit_predict(moons)

# texts, with a tokenizer of one's own
texts = ["The cat sat", "the dog sat down", "a cat and a dog", "stocks fell", "stocks rose and fell"]
topics = [0, 0, 0, 1, 1]
counts = CountVectorizer(tokenizer=lambda text: text.lower().split(), token_pattern=None)
matrix = counts.fit_transform(texts)
words = counts.get_feature_names_out()
frequent = [(str(word), int(n)) for word, n in zip(words, matrix.sum(axis=0).A1) if n > 1]
bayes = MultinomialNB().fit(matrix, topics)
guess = bayes.predict(counts.transform(["the cat fell"]))
weights = TfidfVectorizer(stop_words="english").fit(texts)
alike = cosine_similarity(weights.transform(texts))

# in pieces
online = SGDClassifier(random_state=0)
for start in range(0, 90, 30):
    online.partial_fit(X[start : start + 30], truth[start : start + 30], classes=[0, 1, 2])

tree = DecisionTreeClassifier(max_depth=2, random_state=0).fit(X, truth)
neighbours = KNeighborsRegressor(3, weights=lambda d: 1 / (d + 1)).fit(X, X[:, 0])
scaled = preprocessing.minmax_scale(X)
encoder = preprocessing.LabelEncoder().fit(["low", "high", "low"])
flat = MDS(n_components=1, random_state=0, n_init=1, normalized_stress="auto").fit_transform(X[:10]).shape
curve = metrics.roc_curve([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
precision, recall, *_ = metrics.precision_recall_fscore_support([0, 1, 1], [0, 1, 0], average="binary")

try:
    cluster.KMeans().predict(X)
except NotFittedError as error:
    unfitted = type(error).__name__

results = {
    "sizes": sorted(sizes.tolist()),
    "centres": centres,
    "score": score,
    "inertias": inertias,
    "density": sorted(set(density.tolist())),
    "frequent": frequent,
    "vocabulary": {word: int(n) for word, n in counts.vocabulary_.items()},
    "guess": guess[0],
    "alike": np.round(alike, 12),
    "sparse": matrix.toarray(),
    "online": online.score(X, truth),
    "tree": export_text(tree, feature_names=["x", "y"]),
    "neighbours": neighbours.predict(X[:3]),
    "scaled": scaled.max(),
    "encoded": encoder.transform(["high", "low"]).tolist(),
    "flat": flat,
    "curve": [part.tolist() for part in curve[:2]],
    "precision": (precision, recall),
    "unfitted": unfitted,
}
