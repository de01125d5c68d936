# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # What else moves Table 1
#
# Where our numbers differ from the printed ones, a setting that the paper does not tell may be the cause. Each variant
# here changes one setting of an attack of Table 1 and attacks the same images through the same networks, so that it can
# be compared image by image.

# %% tags=["parameters"]
artefact = {}

# %%
import numpy as np

from invgrad.charts import FAINT, PALETTE, subplots
from invgrad.evidence import Evidence
from invgrad.tables import comparison, finite, left_out, mean_and_spread, unlike_paper

UNCHANGED = ("-tv1e-2", "-lbfgs")  # how the names of these cells end
BASE = "nothing changed"

evidence = Evidence(artefact)
groups: dict[str, dict[str, str]] = {}
for cell, about in evidence.cells.items():
    attack, _, variant = about["label"].rpartition(", ")
    if cell.endswith(UNCHANGED):
        attack, variant = about["label"].removesuffix(", α = 1e-2"), BASE
    groups.setdefault(attack, {})[variant] = cell

# %% [markdown]
# The difference of every image from its reconstruction with nothing changed, the mean over network seeds. Noise
# differs as well, since each cell draws its own.

# %%
rows = finite(evidence.rows)
psnr = {cell: rows[rows["cell"] == cell].set_index(["seed", "image"])["psnr"] for cell in evidence.cells}
differences = {
    cell: (psnr[cell] - psnr[cells[BASE]]).dropna().groupby("image").mean()
    for cells in groups.values()
    if BASE in cells
    for variant, cell in cells.items()
    if variant != BASE
}

# %%
columns = ["PSNR in dB (± images)", "± seeds", "n (images × seeds)", "failed / exact", "iterations × restarts"]
table = comparison(evidence.summary, evidence.verdicts, evidence.rows)[columns].set_index(evidence.summary.index)
named = {cell: (attack, variant) for attack, cells in groups.items() for variant, cell in cells.items()}
table.insert(0, "attack", [named[cell][0] for cell in table.index])
table.insert(1, "variant", [named[cell][1] for cell in table.index])
text = {
    cell: ("+" if each.mean() > 0 else "") + mean_and_spread(each.mean(), each.std() / np.sqrt(len(each)))
    for cell, each in differences.items()
}
table.insert(3, "difference in dB (± standard error over images)", [text.get(cell, "–") for cell in table.index])
table["changed by scale or override"] = ["; ".join(evidence.cells[cell]["obstacles"]) or "–" for cell in table.index]
evidence.save_table(table.reset_index(drop=True))
table

# %% [markdown]
# A dot is an image, a diamond the mean over images.

# %%
missing = left_out(evidence.rows)
drawn = {attack: [cell for cell in cells.values() if cell in differences] for attack, cells in groups.items()}
drawn = {attack: cells for attack, cells in drawn.items() if cells}
note = unlike_paper(evidence.cells) + (f" Not drawn: {missing}." if missing else "")
most = max(map(len, drawn.values()), default=0)
columns = min(2, max(1, len(drawn)))
lines = max(1, -(-len(drawn) // columns))
figure, panels = subplots(lines, columns, evidence.caption, note=note, width=3.2, height=0.9 + 0.25 * most)
for axes, (attack, cells) in zip(panels.flat, drawn.items()):
    for place, each in enumerate(differences[cell] for cell in cells):
        axes.plot(each, np.full(len(each), place), ".", color=FAINT)
        axes.plot(each.mean(), place, "D", color=PALETTE[0])
    axes.axvline(0, color="black", linewidth=0.6)
    axes.set_yticks(range(len(cells)), [named[cell][1] for cell in cells])
    axes.set(title=attack.replace(": ", "\n"), xlabel="difference in dB", ylim=(len(cells) - 0.4, -0.6))
for axes in panels.flat[len(drawn) :]:
    axes.remove()
evidence.save_figure(figure)
