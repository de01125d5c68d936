# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # What training does to the leak
#
# The same images, attacked through one and the same network after more and more epochs of its training. The gradient of
# the cross-entropy of one image is the sum of the gradients of all logits, each weighted with how far its probability
# is from the label: a network that is right and sure of it shares a gradient close to zero. The middle row shows how far
# that has gone, the upper one what the attack still recovers, the lower one how well the network does on images that it
# was not trained on. The attack's distance does not depend on the gradient's length; where norm and PSNR fall together,
# the figure shows that they do, not that one is the cause of the other.

# %% tags=["parameters"]
artefact = {}

# %%
import numpy as np

from invgrad.charts import FAINT, legend_below, log_scale, subplots
from invgrad.evidence import Evidence
from invgrad.metrics import rank_correlation
from invgrad.tables import comparison, left_out, unlike_paper

evidence = Evidence(artefact)
names = {about["victim"]: about["label"].rpartition(",")[0] for about in evidence.cells.values()}
networks = {about["victim"]: {**about, "label": names[about["victim"]]} for about in evidence.cells.values()}
course = evidence.summary.reset_index()
for key in ("victim", "epoch"):
    course[key] = [evidence.cells[cell][key] for cell in course["cell"]]
course["norm"] = course["cell"].map(evidence.rows.groupby("cell")["shared_norm"].median())
accuracy = evidence.curves.groupby(["victim", "epoch"], as_index=False)["validation_accuracy"].mean()
course = course.merge(accuracy, "left", ["victim", "epoch"])

# %% [markdown]
# The table. Of the gradient's norm it has the median over images and network seeds, since single images may lie decades
# above all others.

# %%
columns = ["PSNR in dB (± images)", "± seeds", "n (images × seeds)", "failed / exact"]
table = comparison(evidence.summary, evidence.verdicts, evidence.rows)[columns]
table.insert(0, "network", course["victim"].map(names))
table.insert(1, "epochs", course["epoch"])
table["norm of the gradient (median)"] = course["norm"].map("{:.3g}".format)
table["validation accuracy"] = ["–" if share != share else f"{share:.1%}" for share in course["validation_accuracy"]]
table["unlike the paper"] = ["; ".join(evidence.cells[cell]["obstacles"]) or "–" for cell in course["cell"]]
evidence.save_table(table)
table

# %% [markdown]
# The figure: single images as dots, their mean or median as a line; the accuracy after every epoch. Above each column
# stands Spearman's rank correlation of gradient norm and PSNR over all its dots: above 0 if larger gradients leak more.

# %%
missing = left_out(evidence.rows)
note = unlike_paper(networks) + (f" Not drawn: {missing}." if missing else "")
size = {"width": 2.8, "height": 1.45}
figure, axes = subplots(3, len(names), evidence.caption, note=note, share_x="col", share_y="row", **size)
for (upper, middle, lower), (victim, name) in zip(axes.T, names.items()):
    lower.set_xscale("function", functions=(np.log1p, np.expm1))
    line = course[course["victim"] == victim].sort_values("epoch")
    dots = evidence.rows.merge(line[["cell", "epoch"]], on="cell")
    for panel, dot, shown in ((upper, "psnr", "value"), (middle, "shared_norm", "norm")):
        panel.plot(dots["epoch"], dots[dot], ".", color=FAINT, markersize=3, label="one image")
        panel.plot(line["epoch"], line[shown], "o-", label="mean (PSNR), median (norm)")
    for _, curve in evidence.curves[evidence.curves["victim"] == victim].groupby("seed"):
        lower.plot(curve["epoch"], curve["validation_accuracy"], color="C1", linewidth=0.8, label="one network seed")
    correlation = rank_correlation(dots["shared_norm"], dots["psnr"])
    upper.set_title(f"{name}\nrank correlation of norm and PSNR: {correlation:.2f}")
    log_scale(middle, "y")
    lower.set_xticks(line["epoch"], line["epoch"])
    lower.set(xlabel="epochs of training", ylim=(0, 1))
    lower.yaxis.set_major_formatter("{x:.0%}")
for panel, text in zip(axes[:, 0], ("PSNR in dB", "norm of the gradient", "validation accuracy")):
    panel.set_ylabel(text)
legend_below(figure)
evidence.save_figure(figure)
