# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # How much Table 1 depends on the network's random initialisation
#
# Each dot is the reconstruction of one image, each column one network seed: the same images and settings, and a network
# that was initialised, and where it is trained also trained, from another seed. Were the seed of no matter, the means
# would differ by no more than chance allows with images that scatter so widely.

# %% tags=["parameters"]
artefact = {}

# %%
import numpy as np
import pandas as pd
import seaborn as sns

from invgrad.charts import FAINT, PALETTE, subplots
from invgrad.evidence import Evidence
from invgrad.tables import finite, left_out

evidence = Evidence(artefact)
by_cell = {cell: evidence.rows[evidence.rows["cell"] == cell] for cell in evidence.cells}

# %% [markdown]
# A bar marks the mean of a seed. Failed trials and exact reconstructions have no place on the axis; their number stands
# above the panel.

# %%
np.random.seed(0)  # dots are moved sideways at random: the same rows shall give the same picture
columns = min(4, len(by_cell))
figure, panels = subplots(-(-len(by_cell) // columns), columns, evidence.caption, share_y="all")
for axes, (cell, rows) in zip(panels.flat, by_cell.items()):
    seeds = evidence.seeds(cell)
    sns.stripplot(finite(rows), x="seed", y="psnr", order=seeds, ax=axes, color=FAINT, size=3, jitter=0.2)
    means = finite(rows).groupby("seed")["psnr"].mean().reindex(seeds)
    axes.hlines(means, np.arange(len(seeds)) - 0.3, np.arange(len(seeds)) + 0.3, color=PALETTE[0], linewidth=1.5, zorder=3)
    network, _, attack = evidence.cells[cell]["label"].partition(": ")
    axes.set(title="\n".join(filter(None, [network, attack, left_out(rows)])), xlim=(-0.5, len(seeds) - 0.5))
    axes.set(xlabel="network seed", ylabel="PSNR in dB")
for axes in panels.flat[len(by_cell) :]:
    axes.remove()
evidence.save_figure(figure)

# %% [markdown]
# The spread of the means of the seeds is what one network alone cannot tell.

# %%
summary = evidence.summary
means = {cell: finite(rows).groupby("seed")["psnr"].mean() for cell, rows in by_cell.items()}
table = pd.DataFrame(
    {
        "cell": summary["label"],
        "images × seeds": [f"{each.n_images} × {each.n_seeds}" for each in summary.itertuples()],
        "mean PSNR in dB": summary["value"],
        "± images, within a seed": summary["std_images"],
        "± seeds": summary["std_seeds"],
        "lowest seed": [means[cell].min() for cell in summary.index],
        "highest seed": [means[cell].max() for cell in summary.index],
        "range of seeds": [np.ptp(means[cell]) if len(means[cell]) > 1 else np.nan for cell in summary.index],
        "not in the means": [left_out(rows) or "–" for rows in by_cell.values()],
        "unlike the paper": ["; ".join(about["obstacles"]) or "–" for about in evidence.cells.values()],
    }
)
numbers = table.select_dtypes("float").columns
table[numbers] = table[numbers].map(lambda value: "–" if np.isnan(value) else f"{value:.2f}")
evidence.save_table(table)
table
