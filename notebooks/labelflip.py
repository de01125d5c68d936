# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Dishonest parameters: what swapping rows of the classification layer does
#
# The better a network has learned to recognise an image, the smaller are its loss on it and the gradient that a client
# shares. A server that swaps rows of the classification layer sends a network whose answer is another; the client does
# not notice and shares the gradient of that. Both gradients' norms stand here beside what the attack makes of them.

# %% tags=["parameters"]
artefact = {}

# %%
import pandas as pd

from invgrad.evidence import Evidence
from invgrad.plots import Strip, decibels, image_grid
from invgrad.tables import mean_psnr, unlike_paper

SHOWN = 8

evidence = Evidence(artefact)
servers = {cell: "rows swapped" if cell == "labelflip-swapped" else "honest server" for cell in evidence.cells}
keys = ["seed", "image"]
values = {cell: evidence.rows[evidence.rows["cell"] == cell].set_index(keys) for cell in servers}

# %% [markdown]
# Below each reconstruction its PSNR, and the norm of the gradient that the client shared.

# %%
galleries = {cell: evidence.gallery(cell, count=SHOWN) for cell in servers}
first = next(iter(galleries.values()))
strips = [Strip(f"original ({first.dataset})", first.originals)]
for cell, gallery in galleries.items():
    norms = values[cell].loc[evidence.seeds(cell)[0]].loc[gallery.index, "shared_norm"]
    captions = [f"{decibels(psnr)}\nnorm {norm:.3g}" for psnr, norm in zip(gallery.psnr, norms)]
    strips.append(Strip(servers[cell], gallery.reconstructions, captions))
figure = image_grid(strips, evidence.caption, note=unlike_paper(evidence.cells))
evidence.save_figure(figure)

# %% [markdown]
# All images, and the mean over them, which tells what is not in it: failed trials, and exact ones with an infinite PSNR.

# %%
def numbers(rows: pd.DataFrame, server: str) -> pd.DataFrame:
    psnr = rows["psnr"].map(decibels)
    psnr["mean", ""] = mean_psnr(rows)
    norm = rows["shared_norm"].map("{:.3g}".format)
    norm["mean", ""] = f"{rows['shared_norm'].mean():.3g}"
    return pd.DataFrame({f"gradient norm, {server}": norm, f"PSNR, {server}": psnr})


table = pd.concat([numbers(rows, servers[cell]) for cell, rows in values.items()], axis=1).reset_index()
table = table.rename(columns={"seed": "network seed"})[["network seed", "image", *sorted(table.columns[2:])]]
evidence.save_table(table)
table
