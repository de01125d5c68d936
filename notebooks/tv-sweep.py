# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # The weight α of the total variation
#
# The attack minimises the distance between gradients plus α times the total variation of the image, which is meant to
# take out noise and, if α is too large, takes out the image as well. How much does the result depend on α, and is one α
# good for all networks? An attacker cannot try: it takes the original to see which α is best.

# %% tags=["parameters"]
artefact = {}

# %%
from invgrad.attack import Attack
from invgrad.charts import FAINT, legend_below, log_scale, mark, subplots
from invgrad.evidence import Evidence
from invgrad.tables import comparison, left_out, unlike_paper

evidence = Evidence(artefact)
chosen_by_the_paper = Attack().total_variation
sweep = evidence.summary.reset_index()
sweep["α"] = [evidence.cells[cell]["total_variation"] for cell in sweep["cell"]]
sweep["network"] = sweep["label"].str.rpartition(",")[0]
networks = {row.network: {**evidence.cells[row.cell], "label": row.network} for row in sweep.itertuples()}

# %% [markdown]
# The table: the spread over images is within a network seed, that over seeds is of their means. The matching cost, here
# without the total variation, is what the attacker sees of the result.

# %%
columns = ["PSNR in dB (± images)", "± seeds", "n (images × seeds)", "failed / exact"]
table = comparison(evidence.summary, evidence.verdicts, evidence.rows)[columns]
table.insert(0, "network", sweep["network"])
table.insert(1, "α", sweep["α"].map("{:g}".format))
costs = evidence.rows.groupby("cell")["matching_cost"].mean()
table["matching cost"] = sweep["cell"].map(costs).map("{:.3g}".format)
table["unlike the paper"] = ["; ".join(evidence.cells[cell]["obstacles"]) or "–" for cell in sweep["cell"]]
evidence.save_table(table)
table

# %% [markdown]
# The figure: the mean PSNR with a band of one standard deviation over images to either side, every single image as a
# dot, and a dotted line at the α of the paper.

# %%
missing = left_out(evidence.rows)
note = unlike_paper(networks) + (f" Not drawn: {missing}." if missing else "")
figure, axes = subplots(1, len(networks), evidence.caption, note=note, width=2.0, share_y="all")
for panel, network in zip(axes[0], networks):
    line = sweep[sweep["network"] == network].sort_values("α")
    dots = evidence.rows.merge(line[["cell", "α"]], on="cell")
    panel.plot(dots["α"], dots["psnr"], ".", color=FAINT, markersize=3, label="one image")
    band = line["value"] - line["std_images"], line["value"] + line["std_images"]
    panel.fill_between(line["α"], *band, alpha=0.2, linewidth=0, label="± one standard deviation over images")
    panel.plot(line["α"], line["value"], "o-", label="mean")
    panel.set(title=network, xlabel="α")
    panel.margins(y=0.15)
    log_scale(panel, "x")
    mark(panel, chosen_by_the_paper, "paper")
axes[0, 0].set_ylabel("PSNR in dB")
legend_below(figure)
evidence.save_figure(figure)
