# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Table 1: how well single images are reconstructed
#
# The mean PSNR of each cell beside the value that the paper prints. Every number comes from the per-image rows that the
# metrics step wrote (`rows.csv`) and from the verdicts drawn from them; nothing is computed here.

# %% tags=["parameters"]
title = ""
about = ""
cells = {}
rows = ""
figures = ""

# %%
from pathlib import Path

import pandas as pd

from invgrad.tables import mean_and_spread, save_table

rows = pd.read_csv(rows)
verdicts = pd.read_csv(Path(figures) / "verdicts.csv")
verdicts = verdicts[verdicts.measure == "psnr_mean"].set_index("cell").loc[list(cells)].reset_index()
labels = {cell: shown["label"] for cell, shown in cells.items()}

# %% [markdown]
# Image-to-image and network-seed spread are kept apart: the paper's ± is over the images of one network, and hides
# how much the result depends on that network's random initialisation.

# %%
data = rows.groupby("cell").first()
table = pd.DataFrame(
    {
        "network": verdicts.cell.map(labels),
        "data": [data.dataset[cell] for cell in verdicts.cell],
        "PSNR in dB (± images)": list(map(mean_and_spread, verdicts.value, verdicts.std_images)),
        "± network seeds": [f"{spread:.2f}" if spread == spread else "–" for spread in verdicts.std_seeds],
        "n (images × seeds)": [f"{r.n_images} × {r.n_seeds}" for r in verdicts.itertuples()],
        "failed": verdicts.n_failed,
        "iterations": [data.iterations[cell] for cell in verdicts.cell],
        "restarts": [data.restarts[cell] for cell in verdicts.cell],
        "paper": list(map(mean_and_spread, verdicts.paper_value, verdicts.paper_std)),
        "difference (95 % interval)": [
            f"{r.difference:+.2f} ({r.ci_low:+.2f} to {r.ci_high:+.2f})" for r in verdicts.itertuples()
        ],
        "verdict": [f"{r.verdict}: {r.reason}" for r in verdicts.itertuples()],
    }
)
table

# %%
sources = "; ".join(rows[rows.cell.isin(cells)].groupby("dataset").source.first())
caption = f"{title}. {about} Images: {sources}."
save_table(table, Path(figures) / "table1", caption)

# %% [markdown]
# The spread behind each number: one dot per image, one column per network seed.

# %%
import seaborn as sns

shown = rows[rows.cell.isin(cells)].assign(network=lambda r: r.cell.map(labels))
sns.catplot(data=shown, x="seed", y="psnr", col="network", kind="strip", height=2.5, color="0.3", size=3, jitter=0.15)
