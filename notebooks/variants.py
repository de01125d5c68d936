# %% [markdown]
# # Variants of the attacks of Table 1
#
# Where our numbers differ from the printed ones, a setting that the paper does not name may be the cause. Each variant
# here changes one setting of an attack of Table 1 and attacks the same images through the same networks, so that it can
# be compared image by image.

# %% tags=["parameters"]
artefact = "variants"

# %%
import numpy as np

from invgrad.report.charts import FAINT, PALETTE, subplots
from invgrad.report.artefact import ArtefactResults
from invgrad.report.tables import NONE, comparison_text, finite, count_excluded, mean_and_spread, unlike_paper

results = ArtefactResults.open(artefact)
groups: dict[str, list[str]] = {}
for cell, about in results.cells.items():
    groups.setdefault(about["variant_of"] or cell, []).append(cell)
names = {cell: about["variant"] if about["variant_of"] else "nothing changed" for cell, about in results.cells.items()}

# %% [markdown]
# The difference of every image from its reconstruction with nothing changed, which started from the same noise; the
# mean over network seeds.

# %%
psnr = {cell: finite(rows).set_index(["seed", "image"])["psnr"] for cell, rows in results.by_cell.items()}
changes = {
    cell: (psnr[cell] - psnr[base]).dropna().groupby("image").mean()
    for base, cells in groups.items()
    if base in psnr
    for cell in cells
    if cell != base
}

# %%
numbers = results.comparison()
numbers["variant"] = numbers["cell"].map(names)
numbers["variant_of"] = [about["variant_of"] for about in results.cells.values()]
numbers["change"] = numbers["cell"].map({cell: each.mean() for cell, each in changes.items()})
errors = {cell: each.std() / np.sqrt(len(each)) for cell, each in changes.items()}
numbers["change_standard_error"] = numbers["cell"].map(errors)
columns = ["PSNR in dB (± images)", "± seeds", "n (images × seeds)", "failed / exact", "iterations × restarts"]
table = comparison_text(numbers)[columns]
table.insert(0, "attack", numbers["attack"])
table.insert(1, "variant", numbers["variant"])
texts = [
    ("+" if change > 0 else "") + mean_and_spread(change, error)
    for change, error in zip(numbers["change"], numbers["change_standard_error"])
]
table.insert(3, "difference in dB (± standard error over images)", texts)
table["changed by scale or override"] = numbers["deviations"].replace("", NONE)
results.save_table(table, numbers)
table

# %% [markdown]
# A dot is an image, a diamond the mean over images.

# %%
missing = count_excluded(results.rows)
drawn = {results.cells[cells[0]]["attack"]: [cell for cell in cells if cell in changes] for cells in groups.values()}
drawn = {attack: cells for attack, cells in drawn.items() if cells}
note = unlike_paper(results.cells) + (f" Not drawn: {missing}." if missing else "")
most = max(map(len, drawn.values()), default=0)
columns = min(2, max(1, len(drawn)))
lines = max(1, -(-len(drawn) // columns))
figure, panels = subplots(lines, columns, results.caption, note=note, width=3.2, height=0.9 + 0.25 * most)
for axes, (attack, cells) in zip(panels.flat, drawn.items()):
    for place, each in enumerate(changes[cell] for cell in cells):
        axes.plot(each, np.full(len(each), place), ".", color=FAINT)
        axes.plot(each.mean(), place, "D", color=PALETTE[0])
    axes.axvline(0, color="black", linewidth=0.6)
    axes.set_yticks(range(len(cells)), [names[cell] for cell in cells])
    axes.set(title=attack.replace(": ", "\n"), xlabel="difference in dB", ylim=(len(cells) - 0.4, -0.6))
for axes in panels.flat[len(drawn) :]:
    axes.remove()
results.save_figure(figure)
