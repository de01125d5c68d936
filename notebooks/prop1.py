# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Proposition 3.1: the input of a fully connected layer, in closed form
#
# A row of a fully connected layer has as gradient the layer's input times the gradient of its bias. So their quotient is
# the input itself: no optimisation, no iterations, whatever the rest of the network does. With several images in a batch
# both gradients are sums over the images, and each row's quotient is another mixture of them.

# %% tags=["parameters"]
artefact = {}

# %%
import pandas as pd

from invgrad.evidence import Evidence
from invgrad.mixtures import mixture_weights
from invgrad.plots import above, decibels, image_grid
from invgrad.tables import mean_psnr, unlike_paper

EXACT = 80
"""dB from which on a reconstruction counts as exact: what remains is rounding."""

evidence = Evidence(artefact)
images = {cell: about["images_per_client"] for cell, about in evidence.cells.items()}

# %% [markdown]
# Several clients with one image each; of larger batches, the first. The mixtures stand below the originals in the
# order that fits best, and what goes beyond black and white is clipped.

# %%
galleries = {cell: evidence.gallery(cell, count=n if n > 1 else max(images.values())) for cell, n in images.items()}
titles = [f"batch of {n}: mixtures" if n > 1 else "single images: recovered" for n in images.values()]
note = unlike_paper(evidence.cells)
figure = image_grid(above(list(zip(titles, galleries.values()))), evidence.caption, note=note)
evidence.save_figure(figure)

# %% [markdown]
# What mixes: the weight of every original of the batch in each mixture. They add up to 1, but one may be negative and
# another larger than 1. A mixture that shows one image has a 1 among zeros.

# %%
table = []
for cell, n in images.items():
    rows, gallery = evidence.rows[evidence.rows["cell"] == cell], galleries[cell]
    for position, (shown, psnr) in enumerate(zip(gallery.reconstructions, gallery.psnr)):
        originals = gallery.originals if n > 1 else gallery.originals[[position]]
        weights = mixture_weights(shown[None], originals)[0]
        text = "–" if weights.isnan().any() else ", ".join(f"{weight:z.2f}" for weight in weights)
        table.append((n, f"below image {gallery.index[position]}", decibels(psnr), int(psnr > EXACT), text))
    table.append((n, f"mean of all {len(rows)}", mean_psnr(rows), int((rows["psnr"] > EXACT).sum()), "–"))
columns = ["images in the batch", "shown", "PSNR", f"exact up to rounding (> {EXACT} dB)", "weights of the originals, left to right"]
table = pd.DataFrame(table, columns=columns)
evidence.save_table(table)
table
