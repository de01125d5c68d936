# %% [markdown]
# # Proposition 3.1: the input of a fully connected layer, in closed form
#
# A row of a fully connected layer has as gradient the layer's input times the gradient of its bias. So their quotient is
# the input itself: no optimisation, no iterations, whatever the rest of the network does. With several images in a batch
# both gradients are sums over the images, and each row's quotient is another mixture of them.

# %% tags=["parameters"]
artefact = "prop1"

# %%
import pandas as pd

from invgrad.report.artefact import ArtefactResults
from invgrad.metrics.image_quality import mixture_weights
from invgrad.report.image_grid import above, image_grid, psnr_texts
from invgrad.report.tables import mean_psnr, unlike_paper

EXACT = 80
"""dB from which on a reconstruction counts as exact: what remains is rounding."""

results = ArtefactResults.open(artefact)
images = {cell: about["images_per_client"] for cell, about in results.cells.items()}

# %% [markdown]
# Several clients with one image each; of larger batches, the first. The mixtures stand below the originals in the
# order that fits best, and what goes beyond black and white is clipped.

# %%
galleries = {cell: results.gallery(cell, count=n if n > 1 else max(images.values())) for cell, n in images.items()}
titles = [f"batch of {n}: mixtures" if n > 1 else "single images: recovered" for n in images.values()]
note = unlike_paper(results.cells)
figure = image_grid(above(list(zip(titles, galleries.values()))), results.caption, note=note)
results.save_figure(figure)

# %% [markdown]
# What mixes: the weight of every original of the batch in each mixture. They add up to 1, but one may be negative and
# another larger than 1. A mixture that shows one image has a 1 among zeros. The CSV file has a row for every image.

# %%
table, mixtures = [], []
for cell, n in images.items():
    rows, gallery = results.by_cell[cell], galleries[cell]
    for position, (shown, psnr, text) in enumerate(zip(gallery.reconstructions, gallery.psnr, psnr_texts(gallery))):
        originals = gallery.originals if n > 1 else gallery.originals[[position]]
        weights = mixture_weights(shown[None], originals)[0]
        mixtures.append({"cell": cell, "seed": results.seeds(cell)[0], "image": gallery.index[position]})
        mixtures[-1] |= {f"weight_{number}": weight for number, weight in enumerate(weights.tolist(), 1)}
        shares = "–" if weights.isnan().any() else ", ".join(f"{weight:z.2f}" for weight in weights)
        table.append((n, f"below image {gallery.index[position]}", text, int(psnr > EXACT), shares))
    table.append((n, f"mean of all {len(rows)}", mean_psnr(rows), int((rows["psnr"] > EXACT).sum()), "–"))
columns = ["images in the batch", "shown", "PSNR", f"exact up to rounding (> {EXACT} dB)", "weights of the originals, left to right"]
table = pd.DataFrame(table, columns=columns)
numbers = results.rows[["cell", "seed", "client", "image", "status", "psnr", "flat_psnr"]]
numbers.insert(1, "images_in_batch", numbers["cell"].map(images))
numbers["exact"] = numbers["psnr"] > EXACT
results.save_table(table, numbers.merge(pd.DataFrame(mixtures), "left"))
table
