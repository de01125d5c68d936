# %% [markdown]
# # The effect of training on the leak
#
# The same images, attacked through one and the same network after more and more epochs of its training. The gradient of
# the cross-entropy of one image is the sum of the gradients of all logits, each weighted with how far its probability
# is from the label: a network that is right and sure of it shares a gradient close to zero. The middle row shows how far
# that has gone, the upper one what the attack still recovers, the lower one how well the network does on images that it
# was not trained on. The attack's distance does not depend on the gradient's length; where norm and PSNR fall together,
# the figure shows that they do, not that one is the cause of the other.

# %% tags=["parameters"]
artefact = "training-curve"

# %%
import numpy as np

from invgrad.report.charts import FAINT, flat_line, heading, legend_below, log_scale, subplots
from invgrad.report.artefact import ArtefactResults
from invgrad.metrics.image_quality import rank_correlation
from invgrad.report.tables import NONE, comparison_text, count_excluded, sample_size, unlike_paper

results = ArtefactResults.open(artefact)
networks = {about["victim"]: {**about, "label": about["network"]} for about in results.cells.values()}
course = results.comparison()
for key in ("victim", "epoch"):
    course[key] = [results.cells[cell][key] for cell in course["cell"]]
course["median_norm"] = [rows["shared_norm"].median() for rows in results.by_cell.values()]
accuracy = results.curves.groupby(["victim", "epoch"], as_index=False)["validation_accuracy"].mean()
course = course.merge(accuracy, "left", ["victim", "epoch"])

# %% [markdown]
# The table. Of the gradient's norm it has the median over images and network seeds, since single images may lie decades
# above all others.

# %%
columns = ["PSNR in dB (± images)", "± seeds", "n (images × seeds)", "failed / exact"]
table = comparison_text(course)[columns]
table.insert(0, "network", course["network"])
table.insert(1, "epochs", course["epoch"])
table["norm of the gradient (median)"] = course["median_norm"].map("{:.3g}".format)
table["validation accuracy"] = [NONE if share != share else f"{share:.1%}" for share in course["validation_accuracy"]]
table["unlike the paper"] = course["deviations"].replace("", NONE)
results.save_table(table, course)
table

# %% [markdown]
# The figure: single images as dots, their mean or median as a line; the accuracy after every epoch. Above each column
# stands Spearman's rank correlation of gradient norm and PSNR over all its dots: above 0 if larger gradients leak more.

# %%
missing = count_excluded(results.rows)
note = unlike_paper(networks) + (f" Not drawn: {missing}." if missing else "")
size = {"width": 2.8, "height": 1.45}
figure, axes = subplots(3, len(networks), results.caption, note=note, share_x="col", share_y="row", **size)
for (upper, middle, lower), (victim, about) in zip(axes.T, networks.items()):
    lower.set_xscale("function", functions=(np.log1p, np.expm1))
    line = course[course["victim"] == victim].sort_values("epoch")
    dots = results.rows.merge(line[["cell", "epoch"]], on="cell")
    for panel, dot, shown in ((upper, "psnr", "value"), (middle, "shared_norm", "median_norm")):
        panel.plot(dots["epoch"], dots[dot], ".", color=FAINT, markersize=3, label="one image")
        panel.plot(line["epoch"], line[shown], "o-", label="mean (PSNR), median (norm)")
    for _, curve in results.curves[results.curves["victim"] == victim].groupby("seed"):
        lower.plot(curve["epoch"], curve["validation_accuracy"], color="C1", linewidth=0.8, label="one network seed")
    correlation = rank_correlation(dots["shared_norm"], dots["psnr"])
    flat_line(upper, dots["flat_psnr"].mean())
    heading(upper, about["network"], sample_size(dots), f"rank correlation of norm and PSNR: {correlation:.2f}")
    log_scale(middle, "y")
    lower.set_xticks(line["epoch"], line["epoch"])
    lower.set(xlabel="epochs of training", ylim=(0, 1))
    lower.yaxis.set_major_formatter("{x:.0%}")
for panel, text in zip(axes[:, 0], ("PSNR in dB", "norm of the gradient", "validation accuracy")):
    panel.set_ylabel(text)
legend_below(figure)
results.save_figure(figure)
