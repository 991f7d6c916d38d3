"""A transformer and an estimator of one's own in a pipeline."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression
from sklearn.metrics import make_scorer, mean_squared_error
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler


class LogShift(TransformerMixin, BaseEstimator):
    """Take the logarithm of what lies above the smallest value seen."""

    def __init__(self, offset=1.0):
        self.offset = offset

    def fit(self, X, y=None):
        self.low_ = np.min(X, axis=0)
        return self

    def transform(self, X):
        return np.log(X - self.low_ + self.offset)


class Nearest(ClassifierMixin, BaseEstimator):
    """Classify by the nearest mean."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.means_ = np.array([X[y == label].mean(axis=0) for label in self.classes_])
        return self

    def predict(self, X):
        distances = ((X[:, None, :] - self.means_[None]) ** 2).sum(axis=2)
        return self.classes_[distances.argmin(axis=1)]


rng = np.random.default_rng(2)
X = rng.uniform(0, 10, size=(60, 2))
y = 3 * np.log(X[:, 0] + 1) - X[:, 1] + rng.normal(0, 0.1, 60)
labels = (y > np.median(y)).astype(int)

pipe = make_pipeline(LogShift(offset=2.0), StandardScaler(), LinearRegression())
pipe.fit(X, y)
predicted = pipe.predict(X[:5])
params = pipe.get_params()["logshift__offset"]
twin = clone(pipe).set_params(logshift__offset=1.0)
r2 = twin.fit(X, y).score(X, y)
shifted = LogShift().fit_transform(X)

nearest = Nearest().fit(X, labels)
accuracy = nearest.score(X, labels)
scorer = make_scorer(lambda truth, guess: -float(np.abs(truth - guess).max()))
worst = cross_val_score(LinearRegression(), X, y, cv=3, scoring=scorer)
error = mean_squared_error(y, pipe.predict(X))

squares = FunctionTransformer(lambda values: values**2)
union = FeatureUnion([("same", "passthrough"), ("squares", squares)]).fit_transform(X[:3])
mixed = np.array([["a", 1.0], ["b", 2.0], ["a", 3.0]], dtype=object)
columns = ColumnTransformer([("kind", OneHotEncoder(), [0]), ("size", StandardScaler(), [1])])
encoded = columns.fit_transform(mixed)

results = {
    "predicted": predicted,
    "params": params,
    "r2": r2,
    "low": pipe[0].low_,
    "shifted": shifted[:3],
    "is": isinstance(nearest, BaseEstimator),
    "nearest": accuracy,
    "means": nearest.means_,
    "worst": worst,
    "error": error,
    "union": union,
    "encoded": np.asarray(encoded, dtype=float),
    "repr": repr(LogShift(offset=3.0)),
}
