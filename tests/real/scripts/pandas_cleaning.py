"""Clean a small, dirty table of people."""

import re

import numpy as np
import pandas as pd

people = pd.DataFrame(
    {
        "name": [" Ada Lovelace", "alan turing ", "Grace  Hopper", None, "Edsger Dijkstra"],
        "born": ["1815-12-10", "1912-06-23", "1906-12-09", "n/a", "1930-05-11"],
        "mail": ["ada@analytical.uk", "alan@bletchley", "grace@navy.mil", "", "e.w@tue.nl"],
        "score": ["12", "9,5", "x", "7", "11"],
        "tags": [["math", "poet"], ["math"], ["navy", "cobol"], [], ["math", "goto"]],
    }
)

people["name"] = people["name"].str.strip().str.replace(r"\s+", " ", regex=True).str.title()
people["born"] = pd.to_datetime(people["born"], errors="coerce")
people["score"] = pd.to_numeric(people["score"].str.replace(",", "."), errors="coerce")
people[["first", "last"]] = people["name"].str.split(" ", expand=True)
people["domain"] = people["mail"].str.extract(r"@([\w.]+)")
people["decade"] = people["born"].dt.year // 10 * 10
pattern = re.compile(r"^[\w.]+@[\w.]+\.\w+$")
people["valid"] = people["mail"].apply(lambda mail: bool(pattern.match(mail)))

missing = people.isna().sum()
complete = people.dropna(subset=["name", "born"])
people["score"] = people["score"].fillna(people["score"].median())
people.loc[people["last"] == "Hopper", ["score", "valid"]] = [10.0, False]
people.loc[3, "name"] = "Unknown"
people.at[3, "first"] = "?"
mask = people["score"].between(9, 12) & ~people["valid"] | (people["last"] == "Lovelace")
chosen = people[mask]

tags = people.explode("tags").groupby("tags").size()
codes = people["domain"].astype("category")
dummies = pd.get_dummies(people["decade"].dropna().astype(int))
renamed = people.rename(columns={"score": "points"}).drop(columns=["tags", "mail"])
ordered = renamed.sort_values(["valid", "points"], ascending=[False, True], key=None)
sizes = people["name"].str.len()
upper = people.select_dtypes("number").apply(np.sqrt)
initials = people.apply(lambda row: "".join(part[0] for part in str(row["name"]).split()), axis=1)

extra = pd.DataFrame([{"name": "Barbara Liskov", "score": 12.0}])
both = pd.concat([people, extra], ignore_index=True)
duplicated = pd.concat([extra, extra]).drop_duplicates()
indexed = both.set_index("name")
del both["tags"]
both.insert(0, "id", range(len(both)))
popped = both.pop("mail")
melted = indexed[["score"]].T

try:
    people["nothing"]
except KeyError as error:
    problem = error.args[0]

try:
    people.merge(extra, on="nothing")
except KeyError:
    problem += "!"

if people["score"].max() > 11 and "name" in people:
    grade = "good"

names = [name.split()[0] for name in people["name"]]
lookup = dict(zip(people["last"], people["score"]))
nested = people.set_index("name")[["score", "valid"]].to_dict("index")

results = {
    "people": people.drop(columns="tags"),
    "missing": missing.to_dict(),
    "complete": len(complete),
    "chosen": chosen["name"].tolist(),
    "tags": tags,
    "codes": codes.cat.categories.tolist(),
    "dummies": dummies,
    "ordered": ordered,
    "sizes": sizes,
    "upper": upper,
    "initials": initials,
    "both": both,
    "duplicated": duplicated,
    "popped": popped.tolist(),
    "melted": melted.columns.tolist(),
    "problem": problem,
    "grade": grade,
    "names": names,
    "lookup": {str(key): value for key, value in lookup.items()},
    "nested": nested,
    "html": people[["name", "score"]].to_html(),
    "records": people[["name", "score"]].to_records(index=False).tolist(),
    "info": people.memory_usage().index.tolist(),
    "columns": list(people.columns),
    "loop": [column for column in people],
}
