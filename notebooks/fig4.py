# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Figure 4: circular padding loses the location
#
# A convolution with circular padding gives a shifted image a shifted output, and a mean over all positions forgets
# the shift: the gradient cannot tell where in the image things are. Zero padding tells, since it is not the same at
# the border.

# %% tags=["parameters"]
artefact = {}

# %%
import torch

from invgrad.evidence import Evidence
from invgrad.metrics import best_shift
from invgrad.plots import Strip, beside, decibels, image_grid
from invgrad.tables import unlike_paper

evidence = Evidence(artefact)

# %% [markdown]
# The original beside the reconstruction of each cell, in the order of the configuration: zero padding, circular
# padding.

# %%
shown = [(about["label"], evidence.gallery(cell, count=1)) for cell, about in evidence.cells.items()]
strip = beside(shown)

# %% [markdown]
# Is the last one the original somewhere else? Of all circular shifts, the one with the best PSNR is shown beside it.
# That choice needs the original, which an attacker has not. The same is done for zero padding: nearly any image gains
# a little from a choice among so many shifts, and only what is gained beyond that speaks for a lost location.

# %%
images, captions = [strip.images], [*strip.captions]
for label, gallery in shown:
    down, right, psnr = best_shift(gallery.reconstructions[0], gallery.originals[0])
    images.append(gallery.reconstructions[:1].roll((down, right), (2, 3)))
    captions.append(f"{label}, moved {down} down, {right} right\n{decibels(psnr)}")
figure = image_grid([Strip("", torch.cat(images), captions)], evidence.caption, note=unlike_paper(evidence.cells))
evidence.save_figure(figure)
