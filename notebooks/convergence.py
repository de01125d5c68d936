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
from dataclasses import asdict

import numpy as np
import pandas as pd

from invgrad.attack import milestones
from invgrad.charts import FAINT, legend_below, log_scale, mark, subplots
from invgrad.evidence import Evidence
from invgrad.restarts import chosen, ends, judge
from invgrad.tables import unlike_paper

evidence = Evidence(artefact)
trajectories = {cell: evidence.trajectories(cell) for cell in evidence.cells}
choices = pd.DataFrame([asdict(judge(way)) for way in trajectories.values()], index=list(trajectories))

# %% [markdown]
# The table. Spearman's rank correlation is −1 where a lower cost always means a higher PSNR and 0 where the cost says
# nothing: among the restarts of one image, which is what the choice needs (mean over images), and among everything that
# was attacked. Then the share of images whose restart with the lowest cost is the best one, which takes the original to
# know, and the PSNR that this choice loses against the best; in brackets what a restart at random would do.

# %%
text = choices.map(lambda number: "–" if np.isnan(number) else f"{number:.2f}")
table = pd.DataFrame(
    {
        "cell": [about["label"] for about in evidence.cells.values()],
        "images": choices["images"],
        "restarts": choices["restarts"],
        "failed or exact": choices["left_out"],
        "rank correlation within an image": text["correlation_within"],
        "over all": text["correlation_overall"],
        "lowest cost is best (by chance)": text["hits"] + " (" + text["hits_by_chance"] + ")",
        "dB lost by it (by chance)": text["lost"] + " (" + text["lost_by_chance"] + ")",
        "unlike the paper": ["; ".join(about["obstacles"]) or "–" for about in evidence.cells.values()],
    }
)
evidence.save_table(table)
table

# %% [markdown]
# The figure: cost and PSNR over the iterations, and on the right every restart of every image at its end.

# %%
note = f"Curves are means over the images. Dotted: the step size falls by ten. {unlike_paper(evidence.cells)}"
figure, axes = subplots(len(trajectories), 3, evidence.caption, note=note, height=1.75)
for (left, middle, right), (cell, way) in zip(axes, trajectories.items()):
    for panel, column, what in ((left, "matching_cost", "matching cost"), (middle, "psnr", "PSNR in dB")):
        values = way.assign(value=way[column].where(np.isfinite(way[column])))
        restarts = values.pivot_table("value", "iteration", ["seed", "restart"])
        panel.plot(restarts.index, restarts, color=FAINT, linewidth=0.6, label="one restart")
        panel.plot(restarts.index, restarts.mean(axis=1), label="mean of all restarts")
        for iteration in milestones(int(way["iteration"].max())) if evidence.cells[cell]["step_decay"] else ():
            mark(panel, iteration, "")
        panel.set(xlabel="iterations", ylabel=what)
    last, cheapest = ends(way), chosen(ends(way))
    right.plot(last["matching_cost"], last["psnr"], ".", color=FAINT, label="one image and restart")
    right.plot(cheapest["matching_cost"], cheapest["psnr"], ".", color="C1", label="lowest cost of its image")
    right.set(xlabel="final matching cost", ylabel="final PSNR in dB")
    left.set_title(evidence.cells[cell]["label"])
    overall, within = text.loc[cell, ["correlation_overall", "correlation_within"]]
    right.set_title(f"rank correlation {overall},\nwithin an image {within}")
    log_scale(left, "y")
    log_scale(right, "x")
legend_below(figure)
evidence.save_figure(figure)
