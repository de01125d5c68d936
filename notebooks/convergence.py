# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Matching cost and PSNR on the way
#
# An attacker sees the matching cost alone and keeps the restart that ends with the lowest. How good is that choice? The
# attacks of these cells kept their images on the way, for every restart, and are compared with the originals here.

# %% tags=["parameters"]
artefact = {}

# %%
import numpy as np
import pandas as pd

from invgrad.attack import milestones
from invgrad.charts import FAINT, legend_below, log_scale, mark, subplots
from invgrad.evidence import Evidence
from invgrad.metrics import rank_correlation
from invgrad.tables import unlike_paper

evidence = Evidence(artefact)
IMAGE = ["seed", "client", "image"]
COST_AND_PSNR = ["matching_cost", "psnr"]
on_the_way = {cell: evidence.trajectories(cell) for cell in evidence.cells}
at_the_end = {cell: way[way["iteration"] == way["iteration"].max()] for cell, way in on_the_way.items()}
usable = {cell: end[np.isfinite(end[COST_AND_PSNR]).all(axis=1)] for cell, end in at_the_end.items()}

# %% [markdown]
# The table. Spearman's rank correlation is −1 where a lower cost always means a higher PSNR and 0 where the cost says
# nothing: among the restarts of one image, which is what the choice needs (mean over images), and among everything that
# was attacked. The last columns compare the choice by cost with the best restart, which takes the original to find, and
# with a restart at random.


# %%
def judge(end: pd.DataFrame) -> pd.Series:
    """How well the final cost orders the restarts."""
    images = end.groupby(IMAGE)
    best = images["psnr"].max()
    chosen = end.loc[images["matching_cost"].idxmin()].set_index(IMAGE)["psnr"]
    within = [rank_correlation(trials["matching_cost"], trials["psnr"]) for _, trials in images]
    return pd.Series(
        {
            "images": len(best),
            "rank correlation within an image": pd.Series(within, dtype=float).mean(),
            "over all": rank_correlation(end["matching_cost"], end["psnr"]),
            "lowest cost is best": (chosen == best).mean(),
            "by chance": (1 / images.size()).mean(),
            "dB lost by the lowest cost": (best - chosen).mean(),
            "dB lost at random": (best - images["psnr"].mean()).mean(),
        }
    )


numbers = pd.DataFrame({cell: judge(end) for cell, end in usable.items()}).T
table = numbers.map(lambda number: "–" if np.isnan(number) else f"{number:.2f}")
table["images"] = numbers["images"].map("{:.0f}".format)
for share in ("lowest cost is best", "by chance"):
    table[share] = numbers[share].map("{:.0%}".format)
table.insert(0, "cell", [evidence.cells[cell]["label"] for cell in table.index])
table.insert(2, "restarts", [way["restart"].nunique() for way in on_the_way.values()])
table.insert(3, "failed or exact", [len(at_the_end[cell]) - len(usable[cell]) for cell in table.index])
table["unlike the paper"] = ["; ".join(evidence.cells[cell]["obstacles"]) or "–" for cell in table.index]
evidence.save_table(table)
table

# %% [markdown]
# The figure: on the right, every restart of every image at its end.

# %%
note = f"Curves are means over the images; the step size falls by ten at each dotted line. {unlike_paper(evidence.cells)}"
figure, axes = subplots(len(on_the_way), 3, evidence.caption, note=note, height=1.75)
for panels, (cell, way) in zip(axes, on_the_way.items()):
    for panel, column, text in zip(panels, COST_AND_PSNR, ("matching cost", "PSNR in dB")):
        values = way.assign(value=way[column].where(np.isfinite(way[column])))
        restarts = values.pivot_table("value", "iteration", ["seed", "restart"])
        panel.plot(restarts.index, restarts, color=FAINT, linewidth=0.6, label="one restart")
        panel.plot(restarts.index, restarts.mean(axis=1), label="mean of all restarts")
        for iteration in milestones(int(way["iteration"].max())):
            mark(panel, iteration, "")
        panel.set(xlabel="iterations", ylabel=text)
    panels[0].set_title(evidence.cells[cell]["label"])
    log_scale(panels[0], "y")
    end = usable[cell]
    chosen = end.loc[end.groupby(IMAGE)["matching_cost"].idxmin()]
    panels[2].plot(end["matching_cost"], end["psnr"], ".", color=FAINT, label="one image and restart")
    panels[2].plot(chosen["matching_cost"], chosen["psnr"], ".", color="C1", label="lowest cost of its image")
    panels[2].set(xlabel="final matching cost", ylabel="final PSNR in dB")
    log_scale(panels[2], "x")
    within, overall = table.loc[cell, ["rank correlation within an image", "over all"]]
    panels[2].set_title(f"rank correlation {overall},\nwithin an image {within}")
legend_below(figure)
evidence.save_figure(figure)
