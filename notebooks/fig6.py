# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Figure 6: how many local steps, and how large, hide an image
#
# A client trains on one image for several steps with the learning rate τ and shares the difference of its parameters.
# Small steps leave this close to a multiple of the gradient. The attacker knows τ and the number of steps and takes them
# with every candidate.

# %% tags=["parameters"]
artefact = {}

# %%
import torch

from invgrad.evidence import Evidence
from invgrad.plots import Strip, decibels, image_grid
from invgrad.tables import RECALLED, comparison, unlike_paper

evidence = Evidence(artefact)

# %% [markdown]
# The paper displays a single image for each, and prints its PSNR; it is taken to be the image that is attacked here. Of
# several network seeds the picture shows the first.

# %%
paper = evidence.verdicts.set_index("cell")
galleries = {cell: evidence.gallery(cell, count=1) for cell in evidence.cells}
first = next(iter(galleries.values()))
captions = [f"original ({first.dataset})"]
for cell, gallery in galleries.items():
    settings = evidence.cells[cell]["label"].replace(", ", "\n")
    captions.append(f"{settings}\n{decibels(gallery.psnr[0])}")
    if cell in paper.index:
        mark = "" if paper.loc[cell, "paper_checked"] else RECALLED
        captions[-1] += f"\npaper: {decibels(paper.loc[cell, 'paper_value'])}{mark}"
images = [first.originals, *(gallery.reconstructions for gallery in galleries.values())]
note = f"{RECALLED} recalled, not checked. {unlike_paper(evidence.cells)}"
figure = image_grid([Strip("", torch.cat(images), captions)], evidence.caption, zoom=6, note=note)
evidence.save_figure(figure)

# %% [markdown]
# With one image there is no spread over images, and the interval of the difference covers the network seeds only. From a
# single seed none can be given.

# %%
table = comparison(evidence.summary, evidence.verdicts, evidence.rows, measure="psnr_shown")
evidence.save_table(table)
table
