"""Scale, reduce and classify with a pipeline and a grid search."""

from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, classification_report, confusion_matrix
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

iris = load_iris()
X, y = iris.data, iris["target"]
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, random_state=0, stratify=y)

pipe = Pipeline([("scale", StandardScaler()), ("reduce", PCA()), ("model", LogisticRegression(max_iter=500))])
grid = GridSearchCV(
    pipe,
    {"reduce__n_components": [2, 3], "model__C": [0.1, 1.0, 10.0]},
    cv=StratifiedKFold(3, shuffle=True, random_state=1),
    scoring="accuracy",
)
grid.fit(X_train, y_train)
predicted = grid.predict(X_test)
accuracy = accuracy_score(y_test, predicted)

forest = RandomForestClassifier(n_estimators=20, random_state=0)
scores = cross_val_score(forest, X, y, cv=3)
forest.fit(X_train, y_train)
importance = dict(zip(iris.feature_names, forest.feature_importances_))
ranked = sorted(importance, key=importance.get, reverse=True)

simple = make_pipeline(StandardScaler(), LogisticRegression())
simple.set_params(logisticregression__C=0.5)
simple.fit(X_train, y_train)
steps = [name for name, step in simple.steps]
coefficients = simple[-1].coef_
scaler = simple.named_steps["standardscaler"]

table = [
    (params["model__C"], params["reduce__n_components"], round(float(mean), 6))
    for params, mean in zip(grid.cv_results_["params"], grid.cv_results_["mean_test_score"])
]

try:
    LogisticRegression(C=-1).fit(X_train, y_train)
except ValueError as error:
    message = str(error)

for name, score in sorted(importance.items()):
    print(f"{name:20s} {score:.3f}")

results = {
    "best": grid.best_params_,
    "score": grid.best_score_,
    "accuracy": accuracy,
    "report": classification_report(y_test, predicted, target_names=iris.target_names),
    "report_dict": classification_report(y_test, predicted, output_dict=True)["accuracy"],
    "confusion": confusion_matrix(y_test, predicted),
    "scores": scores,
    "ranked": ranked,
    "steps": steps,
    "coefficients": coefficients,
    "means": scaler.mean_,
    "table": table,
    "message": message.partition(" Got")[0],
    "classes": [str(name) for name in iris.target_names],
    "probabilities": simple.predict_proba(X_test[:3]),
    "params": simple.get_params()["logisticregression__C"],
    "repr": repr(simple),
    "is": isinstance(grid.best_estimator_, Pipeline),
}
