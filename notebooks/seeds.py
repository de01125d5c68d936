# %% [markdown]
# # Dependence of Table 1 on the network's random initialisation
#
# Each dot is the reconstruction of one image, each column one network seed: the same images and settings, and a network
# that was initialised, and where it is trained also trained, from another seed. Were the seed of no matter, the means
# would differ by no more than chance allows with images that scatter so widely.

# %% tags=["parameters"]
artefact = "seeds"

# %%
import numpy as np
import pandas as pd
import seaborn as sns

from invgrad.report.charts import FAINT, PALETTE, subplots
from invgrad.report.artefact import ArtefactResults
from invgrad.report.tables import NONE, finite, fixed, count_excluded

results = ArtefactResults.open(artefact)
by_cell = results.by_cell

# %% [markdown]
# A bar marks the mean of a seed. Failed trials and exact reconstructions have no place on the axis; their number stands
# above the panel.

# %%
np.random.seed(0)  # dots are moved sideways at random: the same rows shall give the same figure
columns = min(4, len(by_cell))
figure, panels = subplots(-(-len(by_cell) // columns), columns, results.caption, share_y="all")
for axes, (cell, rows) in zip(panels.flat, by_cell.items()):
    seeds = results.seeds(cell)
    sns.stripplot(finite(rows), x="seed", y="psnr", order=seeds, ax=axes, color=FAINT, size=3, jitter=0.2)
    means = finite(rows).groupby("seed")["psnr"].mean().reindex(seeds)
    axes.hlines(means, np.arange(len(seeds)) - 0.3, np.arange(len(seeds)) + 0.3, color=PALETTE[0], linewidth=1.5, zorder=3)
    label = results.cells[cell]["label"].replace(": ", "\n")
    axes.set(title="\n".join(filter(None, [label, count_excluded(rows)])), xlim=(-0.5, len(seeds) - 0.5))
    axes.set(xlabel="network seed", ylabel="PSNR in dB")
for axes in panels.flat[len(by_cell) :]:
    axes.remove()
results.save_figure(figure)

# %% [markdown]
# The spread of the means over the seeds cannot be seen from one network.

# %%
numbers = results.comparison()
means = [finite(rows).groupby("seed")["psnr"].mean() for rows in by_cell.values()]
numbers["lowest_seed"] = [each.min() for each in means]
numbers["highest_seed"] = [each.max() for each in means]
numbers["range_of_seeds"] = [np.ptp(each) if len(each) > 1 else np.nan for each in means]
table = pd.DataFrame(
    {
        "cell": numbers["label"],
        "images × seeds": [f"{each.n_images} × {each.n_seeds}" for each in numbers.itertuples()],
        "mean PSNR in dB": numbers["value"].map(fixed),
        "± images, within a seed": numbers["std_images"].map(fixed),
        "± seeds": numbers["std_seeds"].map(fixed),
        "lowest seed": numbers["lowest_seed"].map(fixed),
        "highest seed": numbers["highest_seed"].map(fixed),
        "range of seeds": numbers["range_of_seeds"].map(fixed),
        "not in the means": [count_excluded(rows) or NONE for rows in by_cell.values()],
        "unlike the paper": numbers["deviations"].replace("", NONE),
    }
)
results.save_table(table, numbers)
table
