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

from invgrad.report.charts import FAINT, PALETTE, flat_line, heading, legend_below, subplots
from invgrad.report.artefact import ArtefactResults
from invgrad.report.tables import NONE, comparison_text, count_excluded, finite, fixed, sample_size

results = ArtefactResults.open(artefact)
by_cell = results.by_cell

# %% [markdown]
# A bar marks the mean of a seed. Failed trials and exact reconstructions have no place on the axis; their number stands
# above the panel.

# %%
sideways = np.random.default_rng(0)  # the same rows shall give the same figure
columns = min(4, len(by_cell))
figure, panels = subplots(-(-len(by_cell) // columns), columns, results.caption, share_y="all")
for axes, (cell, rows) in zip(panels.flat, by_cell.items()):
    seeds = results.seeds(cell)
    places, dots = np.arange(len(seeds)), finite(rows)
    means = dots.groupby("seed")["psnr"].mean().reindex(seeds)
    across = dots["seed"].map(seeds.index) + sideways.uniform(-0.2, 0.2, len(dots))
    axes.plot(across, dots["psnr"], ".", color=FAINT, label="one image")
    axes.hlines(means, places - 0.3, places + 0.3, color=PALETTE[0], linewidth=1.5, zorder=3, label="mean of a seed")
    flat_line(axes, rows["flat_psnr"].mean())
    heading(axes, *results.cells[cell]["label"].split(": "), *filter(None, [sample_size(rows), count_excluded(rows)]))
    axes.set(xlabel="network seed", xlim=(-0.5, len(seeds) - 0.5))
    axes.set_xticks(places, seeds)
for axes in panels[:, 0]:
    axes.set_ylabel("PSNR in dB")
for axes in panels.flat[len(by_cell) :]:
    axes.remove()
legend_below(figure)
results.save_figure(figure)

# %% [markdown]
# The spread of the means over the seeds cannot be seen from one network.

# %%
numbers = results.comparison()
means = [finite(rows).groupby("seed")["psnr"].mean() for rows in by_cell.values()]
numbers["lowest_seed"] = [each.min() for each in means]
numbers["highest_seed"] = [each.max() for each in means]
numbers["range_of_seeds"] = [np.ptp(each) if len(each) > 1 else np.nan for each in means]
columns = ["cell", "PSNR in dB (± images)", "± seeds", "n (images × seeds)", "failed / exact"]
table = comparison_text(numbers)[columns].assign(
    **{
        "lowest seed": numbers["lowest_seed"].map(fixed),
        "highest seed": numbers["highest_seed"].map(fixed),
        "range of seeds": numbers["range_of_seeds"].map(fixed),
        "unlike the paper": numbers["deviations"].replace("", NONE),
    }
)
results.save_table(table, numbers)
table
