# %% [markdown]
# # Gradient-matching loss and PSNR over the iterations
#
# An attacker sees only the gradient-matching loss (`matching_cost`), and keeps the restart in which it ends lowest. How
# good is that choice? The attacks of these cells saved their images along the iterations, for every restart. Here, these
# images are compared with the originals.

# %% tags=["parameters"]
artefact = "convergence"

# %%
from dataclasses import asdict

import numpy as np
import pandas as pd

from invgrad.attack.optimisers import milestones
from invgrad.report.charts import FAINT, flat_line, heading, legend_below, log_scale, mark, subplots
from invgrad.report.artefact import ArtefactResults
from invgrad.metrics.restart_choice import choice_of, chosen, ends
from invgrad.report.tables import NONE, fixed, sample_size, unlike_paper

results = ArtefactResults.open(artefact)
trajectories = {cell: results.trajectories(cell) for cell in results.cells}
numbers = pd.DataFrame(
    {"cell": cell, "label": about["label"]} | asdict(choice_of(trajectories[cell])) | {"deviations": "; ".join(about["deviations"])}
    for cell, about in results.cells.items()
)

# %% [markdown]
# The table. Spearman's rank correlation is −1 where a lower loss always means a higher PSNR and 0 where the loss says
# nothing: among the restarts of one image, which is what the choice needs (mean over images), and among everything that
# was attacked. Then the share of images whose restart with the lowest loss is the best one, which takes the original to
# know, and the PSNR that this choice loses against the best; in brackets what a restart at random would do.

# %%
text = numbers.select_dtypes("float").map(fixed)
table = pd.DataFrame(
    {
        "cell": numbers["label"],
        "images": numbers["images"],
        "restarts": numbers["restarts"],
        "failed or exact": numbers["left_out"],
        "rank correlation within an image": text["correlation_within"],
        "over all": text["correlation_overall"],
        "lowest loss is best (by chance)": text["hits"] + " (" + text["hits_by_chance"] + ")",
        "dB lost by it (by chance)": text["lost"] + " (" + text["lost_by_chance"] + ")",
        "unlike the paper": numbers["deviations"].replace("", NONE),
    }
)
results.save_table(table, numbers)
table

# %% [markdown]
# The figure: loss and PSNR over the iterations, and on the right every restart of every image at its end.

# %%
note = f"Curves are means over the images. Dotted: the step size falls by ten. {unlike_paper(results.cells)}"
figure, axes = subplots(len(trajectories), 3, results.caption, note=note, height=1.75)
for (left, middle, right), (cell, way), correlations in zip(axes, trajectories.items(), text.itertuples()):
    for panel, column, what in ((left, "matching_cost", "gradient-matching loss"), (middle, "psnr", "PSNR in dB")):
        values = way.assign(value=way[column].where(np.isfinite(way[column])))
        restarts = values.pivot_table("value", "iteration", ["seed", "restart"])
        panel.plot(restarts.index, restarts, color=FAINT, linewidth=0.6, label="one restart")
        panel.plot(restarts.index, restarts.mean(axis=1), label="mean of all restarts")
        for iteration in milestones(int(way["iteration"].max())) if results.cells[cell]["step_decay"] else ():
            mark(panel, iteration, "")
        panel.set(xlabel="iterations", ylabel=what)
    last, cheapest = ends(way), chosen(ends(way))
    right.plot(last["matching_cost"], last["psnr"], ".", color=FAINT, label="one image and restart")
    right.plot(cheapest["matching_cost"], cheapest["psnr"], ".", color="C1", label="lowest loss of its image")
    right.set(xlabel="final gradient-matching loss", ylabel="final PSNR in dB")
    for panel in (middle, right):
        flat_line(panel, results.by_cell[cell]["flat_psnr"].mean())
    heading(left, results.cells[cell]["label"], sample_size(results.by_cell[cell]))
    within, overall = correlations.correlation_within, correlations.correlation_overall
    heading(right, f"rank correlation {overall},", f"within an image {within}")
    log_scale(left, "y")
    log_scale(right, "x")
legend_below(figure)
results.save_figure(figure)
