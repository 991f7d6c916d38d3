"""A forest with two jobs, which are threads, and a pipeline."""

from sklearn.datasets import load_iris, make_classification
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

x, y = make_classification(600, random_state=0)
a, b, c, d = train_test_split(x, y, random_state=0)
assert RandomForestClassifier(30, n_jobs=2, random_state=0).fit(a, c).score(b, d) > 0.8
assert HistGradientBoostingClassifier(max_iter=20).fit(a, c).score(b, d) > 0.8
iris = load_iris()
model = make_pipeline(StandardScaler(), PCA(2), LogisticRegression())
assert model.fit(iris.data, iris.target).score(iris.data, iris.target) > 0.8
