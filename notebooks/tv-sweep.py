# %% [markdown]
# # The weight α of the total variation
#
# The attack minimises the distance between gradients plus α times the total variation of the image, which is meant to
# take out noise and, if α is too large, takes out the image as well. How much does the result depend on α, and is one α
# good for all networks? An attacker cannot try: it takes the original to see which α is best.

# %% tags=["parameters"]
artefact = "tv-sweep"

# %%
from invgrad.attack.settings import Attack
from invgrad.paper.weights import power
from invgrad.report.charts import FAINT, flat_line, heading, legend_below, log_scale, mark, subplots
from invgrad.report.artefact import ArtefactResults
from invgrad.report.tables import NONE, comparison_text, count_excluded, sample_size, unlike_paper

results = ArtefactResults.open(artefact)
chosen_by_the_paper = Attack().total_variation
sweep = results.comparison()
sweep["total_variation"] = [results.cells[cell]["total_variation"] for cell in sweep["cell"]]
sweep["matching_cost"] = [rows["matching_cost"].mean() for rows in results.by_cell.values()]
networks = {about["attack"]: {**about, "label": about["attack"]} for about in results.cells.values()}

# %% [markdown]
# The table: the spread over images is within a network seed, that over seeds is of their means. The matching loss, here
# without the total variation, is what the attacker sees of the result.

# %%
columns = ["PSNR in dB (± images)", "± seeds", "n (images × seeds)", "failed / exact"]
table = comparison_text(sweep)[columns]
table.insert(0, "network", sweep["attack"])
table.insert(1, "α", sweep["total_variation"].map(power))
table["gradient-matching loss"] = sweep["matching_cost"].map("{:.3g}".format)
table["unlike the paper"] = sweep["deviations"].replace("", NONE)
results.save_table(table, sweep)
table

# %% [markdown]
# The figure: the mean PSNR with a band of one standard deviation over images to either side, every single image as a
# dot, and a dotted line at the α of the paper.

# %%
missing = count_excluded(results.rows)
note = unlike_paper(networks) + (f" Not drawn: {missing}." if missing else "")
figure, axes = subplots(1, len(networks), results.caption, note=note, share_y="all")
for panel, network in zip(axes[0], networks):
    line = sweep[sweep["attack"] == network].sort_values("total_variation")
    dots = results.rows.merge(line[["cell", "total_variation"]], on="cell")
    panel.plot(dots["total_variation"], dots["psnr"], ".", color=FAINT, markersize=3, label="one image")
    band = line["value"] - line["std_images"], line["value"] + line["std_images"]
    panel.fill_between(line["total_variation"], *band, alpha=0.2, linewidth=0, label="± one standard deviation over images")
    panel.plot(line["total_variation"], line["value"], "o-", label="mean")
    flat_line(panel, dots["flat_psnr"].mean())
    heading(panel, network, sample_size(dots))
    panel.set(xlabel="α")
    panel.margins(y=0.15)
    log_scale(panel, "x")
    panel.set_xticks(line["total_variation"], line["total_variation"].map(power))
    panel.minorticks_off()
    mark(panel, chosen_by_the_paper, "paper")
axes[0, 0].set_ylabel("PSNR in dB")
legend_below(figure)
results.save_figure(figure)
