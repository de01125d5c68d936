# %% [markdown]
# # Dishonest parameters: swapped rows of the classification layer
#
# The better a network has learned to recognise an image, the smaller are its loss on it and the gradient that a client
# shares. A server that swaps rows of the classification layer sends a network whose answer is another; the client does
# not notice and shares the gradient of that. Both gradients' norms stand here beside what the attack makes of them.

# %% tags=["parameters"]
artefact = "labelflip"

# %%
import pandas as pd

from invgrad.report.artefact import ArtefactResults
from invgrad.report.image_grid import Strip, decibels, image_grid, psnr_texts
from invgrad.report.tables import mean_psnr, unlike_paper

SHOWN = 8

results = ArtefactResults.open(artefact)
servers = {cell: "rows swapped" if about["swapped_rows"] else "honest server" for cell, about in results.cells.items()}
values = {cell: rows.set_index(["seed", "image"]) for cell, rows in results.by_cell.items()}

# %% [markdown]
# Below each reconstruction its PSNR, and the norm of the gradient that the client shared.

# %%
galleries = {cell: results.gallery(cell, count=SHOWN) for cell in servers}
first = next(iter(galleries.values()))
strips = [Strip(f"original ({first.dataset})", first.originals)]
for cell, gallery in galleries.items():
    norms = values[cell].loc[results.seeds(cell)[0]].loc[gallery.index, "shared_norm"]
    captions = [f"{psnr}\nnorm {norm:.3g}" for psnr, norm in zip(psnr_texts(gallery), norms)]
    strips.append(Strip(servers[cell], gallery.reconstructions, captions))
figure = image_grid(strips, results.caption, note=unlike_paper(results.cells))
results.save_figure(figure)

# %% [markdown]
# All images, and the mean over them, with the number of trials left out: failed ones, and exact ones (infinite PSNR).

# %%
def numbers(rows: pd.DataFrame, server: str) -> pd.DataFrame:
    psnr = rows[["psnr", "flat_psnr"]].agg(lambda each: decibels(*each), axis="columns")
    psnr["mean", ""] = mean_psnr(rows)
    norm = rows["shared_norm"].map("{:.3g}".format)
    norm["mean", ""] = f"{rows['shared_norm'].mean():.3g}"
    return pd.DataFrame({f"gradient norm, {server}": norm, f"PSNR, {server}": psnr})


table = pd.concat([numbers(rows, servers[cell]) for cell, rows in values.items()], axis=1).reset_index()
table = table.rename(columns={"seed": "network seed"})[["network seed", "image", *sorted(table.columns[2:])]]
numbers = results.rows[["cell", "seed", "image", "status", "shared_norm", "psnr", "flat_psnr"]]
numbers.insert(1, "swapped_rows", [results.cells[cell]["swapped_rows"] for cell in numbers["cell"]])
results.save_table(table, numbers)
table
