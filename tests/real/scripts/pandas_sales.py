"""Read a CSV, clean it, group, merge and pivot: a day of a data analyst."""

import io

import pandas as pd

CSV = """date,shop,product,price,quantity
2024-01-03,Bern,apple,0.5,12
2024-01-03,Basel,pear,0.7,3
2024-01-04,Bern,pear,0.7,
2024-01-05,Bern,apple,0.55,20
2024-01-05,Basel,apple,0.5,8
2024-02-01,Zug,plum,1.2,4
2024-02-02,Basel,plum,1.1,6
"""

df = pd.read_csv(io.StringIO(CSV), parse_dates=["date"])
df["quantity"] = df["quantity"].fillna(0).astype(int)
df["total"] = df.price * df.quantity
df.loc[df["shop"] == "Zug", "shop"] = "Zug SBB"
df = df[df.quantity > 0].reset_index(drop=True)

by_shop = df.groupby("shop")["total"].sum().sort_values(ascending=False)
stats = df.groupby("product").agg(
    revenue=("total", "sum"),
    spread=("price", lambda prices: prices.max() - prices.min()),
    n=("price", "size"),
)
best = df.groupby("shop").apply(
    lambda group: group.loc[group.total.idxmax(), "product"], include_groups=False
)

owners = pd.DataFrame({"shop": ["Bern", "Basel", "Chur"], "owner": ["Fred", "Eva", "Ida"]})
merged = df.merge(owners, on="shop", how="left", indicator=True)
missing = merged[merged.owner.isna()].shop.unique().tolist()

pivot = df.pivot_table(index="shop", columns="product", values="total", aggfunc="sum", fill_value=0)
long = pivot.reset_index().melt(id_vars="shop", value_name="total")
cross = pd.crosstab(df["shop"], df["product"])

rows = []
for row in df.itertuples():
    rows.append((row.Index, row.shop, round(row.total, 2)))
pairs = [(index, row["product"]) for index, row in df.iterrows()]
columns = {name: column.nunique() for name, column in df.items()}
groups = {shop: len(group) for shop, group in df.groupby("shop")}


def band(row):
    return f"{row['shop'][:2]}-{'high' if row.total > 5 else 'low'}"


df["band"] = df.apply(band, axis=1)
df["cents"] = df["price"].map(lambda price: int(round(price * 100)))
query = df.query("total > 4 and shop != 'Bern'")
df = df.assign(share=lambda d: d.total / d.total.sum()).rename(columns=str.upper)

with pd.option_context("display.max_rows", 3, "display.precision", 1):
    short = str(df)

print(by_shop)
print(f"{df.SHARE.iloc[0]:.1%} of {len(df)} rows")

results = {
    "by_shop": by_shop,
    "best_shop": by_shop.index[0],
    "stats": stats,
    "best": best.to_dict(),
    "merged": merged.drop(columns="date"),
    "missing": missing,
    "pivot": pivot,
    "long": long.to_dict("records"),
    "cross": cross,
    "rows": rows,
    "pairs": pairs,
    "columns": columns,
    "groups": groups,
    "df": df,
    "query": query.index.tolist(),
    "short": short,
    "describe": df.describe(include="number"),
    "head": df.head(2).to_csv(index=False),
    "json": df[["SHOP", "TOTAL"]].to_json(orient="records"),
    "dtypes": df.dtypes.astype(str).to_dict(),
    "shape": df.shape,
    "has": "SHOP" in df.columns and "SHOP" in df,
    "value": df.at[0, "TOTAL"],
    "corner": df.iloc[-1, 1:3].tolist(),
    "empty": df[df.TOTAL > 1000].empty,
}
