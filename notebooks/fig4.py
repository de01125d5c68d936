# %% [markdown]
# # Figure 4: circular padding and the location of objects
#
# A convolution with circular padding gives a shifted image a shifted output, and a mean over all positions forgets
# the shift: the gradient does not depend on where in the image things are. With zero padding it does, since the border
# differs.

# %% tags=["parameters"]
artefact = "fig4"

# %%
import torch

from invgrad.report.artefact import ArtefactResults
from invgrad.metrics.image_quality import best_shift
from invgrad.report.image_grid import Strip, decibels, image_grid, psnr_texts
from invgrad.report.tables import unlike_paper

results = ArtefactResults.open(artefact)

# %% [markdown]
# Is a reconstruction the original somewhere else? Of all circular shifts of it, the one with the best PSNR is shown
# beside it. That choice needs the original, which an attacker has not. It is made for zero padding too: nearly any
# image gains a little from a choice among so many shifts, and only what is gained beyond that speaks for a lost
# location.

# %%
strips = []
for cell, about in results.cells.items():
    gallery = results.gallery(cell, count=1)
    [original], [found], [flat] = gallery.originals, gallery.reconstructions, gallery.flat_psnr
    down, right, best = best_shift(found, original)
    moved = found.roll((down, right), (1, 2))
    as_found, as_moved = psnr_texts(gallery)[0], decibels(best, flat)
    captions = ["original", f"as found\n{as_found}", f"moved {down} down, {right} right\n{as_moved}"]
    strips.append(Strip(about["label"], torch.stack([original, found, moved]), captions))
figure = image_grid(strips, results.caption, zoom=8, note=unlike_paper(results.cells))
results.save_figure(figure)
