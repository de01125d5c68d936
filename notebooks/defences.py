# %% [markdown]
# # What helps against the attack, and at which price
#
# A client may change what it shares: clip it and add noise, keep its largest entries, round it, or share something else
# than the gradient of one image. Each defence is tried in several strengths, against networks that were trained without
# it and against networks that were trained under it. Of these the accuracy tells the price. The attack does not know of
# the defence but where *pruning known* says so: there it compares only the entries that are left.

# %% tags=["parameters"]
artefact = "defences"

# %%
import pandas as pd

from invgrad.defences.updates import epsilon_of
from invgrad.metrics.recovery import PARTLY, RECOVERED, interval
from invgrad.report.charts import PALETTE, flat_line, heading, legend_below, subplots
from invgrad.report.artefact import ArtefactResults
from invgrad.report.image_grid import GREY
from invgrad.report.tables import NONE, comparison_text, count_excluded, unlike_paper

results = ArtefactResults.open(artefact)
numbers = results.comparison()
numbers[["defence", "strength"]] = numbers["variant"].str.partition(", ")[[0, 2]]
numbers["victim"] = [about["victim"] for about in results.cells.values()]
last = results.curves.groupby("victim", as_index=False).last()
numbers = numbers.merge(last[["victim", "validation_accuracy"]], "left", "victim")

# %% [markdown]
# An image counts as recovered by the rule of `invgrad.metrics.recovery`, compared with the first thousand images of the
# validation split. The interval of the share is exact; images that share a gradient count as one draw.

# %%
recovery = [rows["recovery"] for rows in results.by_cell.values()]
numbers["recovered"] = [(each == RECOVERED).mean() for each in recovery]
numbers["partly"] = [(each == PARTLY).mean() for each in recovery]
numbers["draws"] = [rows["client"].nunique() for rows in results.by_cell.values()]
limits = [interval(*each) for each in zip(numbers["recovered"], numbers["draws"])]
numbers["recovered_low"], numbers["recovered_high"] = zip(*limits)

# %%
table = comparison_text(numbers)[["PSNR in dB (± images)"]]
table.insert(0, "network", numbers["attack"])
table.insert(1, "defence", numbers["defence"])
table.insert(2, "strength", numbers["strength"].replace("", NONE))
table["recovered (95 % interval)"] = [
    f"{share:.0%} ({low:.0%} to {high:.0%})" for share, (low, high) in zip(numbers["recovered"], limits)
]
table["partly"] = numbers["partly"].map("{:.0%}".format)
table["images / gradients"] = [f"{images} / {draws}" for images, draws in zip(numbers["n_images"], numbers["draws"])]
table["validation accuracy"] = [NONE if share != share else f"{share:.1%}" for share in numbers["validation_accuracy"]]
table["unlike the paper"] = numbers["deviations"].replace("", NONE)
results.save_table(table, numbers)
table

# %% [markdown]
# The figure: a column for each defence, stronger to the right, beginning with none.

# %%
COLUMNS = {  # with the name of the axis, and of no defence on it
    "noise": ("standard deviation / clipping norm", "none"),
    "pruning": ("smallest entries left out", "none"),
    "quantisation": ("of each entry", "none"),
    "larger batches": ("images that share a gradient", "1"),
    "local steps": ("steps between two updates", "1"),
}
SAME, KNOWN = " under the same defence", ", pruning known"
networks = [name for name in dict.fromkeys(numbers["attack"]) if not name.endswith(KNOWN)]
undefended = numbers[numbers["defence"] == "none"].set_index("attack", drop=False)
note = (
    "Accuracy: of networks whose every step took one client's defended gradient of 128 images; larger batches and local "
    "steps were not trained with. Bars: 95 % intervals."
)
noise = sorted(set(numbers.loc[numbers["defence"] == "noise", "strength"]), key=float)
promises = ", ".join(f"{epsilon_of(1e-5, float(strength)):,.0f} for {strength}" for strength in noise)
note += f" ε of one update with noise (δ = 1e-5): {promises}; what helps here may promise nothing."
note += f" {unlike_paper(results.cells)}" + (f" Not drawn: {missing}." if (missing := count_excluded(results.rows)) else "")
figure, axes = subplots(3, len(COLUMNS), results.caption, note=note, width=2.0, height=1.6, share_x="col", share_y="row")
for (upper, middle, lower), (defence, (axis, nothing)) in zip(axes.T, COLUMNS.items()):
    tried = numbers[numbers["defence"] == defence]
    strengths = [nothing, *dict.fromkeys(tried["strength"])]
    for network, its in tried.groupby("attack", sort=False):
        base = undefended[undefended.index == network.removesuffix(SAME)] if not network.endswith(KNOWN) else its[:0]
        x = [*[0] * len(base), *map(strengths.index, its["strength"])]
        place = networks.index(network.removesuffix(KNOWN))
        look = {"color": PALETTE[place], "linestyle": ":" if network.endswith(KNOWN) else "-", "label": network}
        line = pd.concat([base, its])
        share = line["recovered"]
        bars = [share - line["recovered_low"], line["recovered_high"] - share]
        upper.plot(x, line["value"], "o", **look)
        middle.errorbar([each + 0.08 * (place - 1) for each in x], share, bars, fmt="o", elinewidth=0.7, **look)
        if network.endswith(SAME):
            lower.plot(x, line["validation_accuracy"], "o", **look)
    lower.axhline(undefended["validation_accuracy"].max(), color=GREY, linewidth=0.7, zorder=0, label="accuracy without defence")
    flat_line(upper, results.rows["flat_psnr"].mean())
    heading(upper, defence if defence != "noise" else "clipping and noise")
    lower.set_xticks(range(len(strengths)), strengths)
    lower.set(xlabel=axis, ylim=(0, 1))
    middle.set(ylim=(-0.03, 1.03))
    for panel in (middle, lower):
        panel.yaxis.set_major_formatter("{x:.0%}")
for panel, text in zip(axes[:, 0], ("PSNR in dB", "recovered images", "validation accuracy")):
    panel.set_ylabel(text)
legend_below(figure)
results.save_figure(figure)
