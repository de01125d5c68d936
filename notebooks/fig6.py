# %% [markdown]
# # Figure 6: number and size of the local steps
#
# A client trains on one image for several steps with the learning rate τ and shares the difference of its parameters.
# Small steps leave this close to a multiple of the gradient. The attacker knows τ and the number of steps and takes them
# with every candidate.

# %% tags=["parameters"]
artefact = "fig6"

# %%
import torch

from invgrad.paper.values import FLAT_PSNR
from invgrad.report.artefact import ArtefactResults
from invgrad.report.image_grid import Strip, decibels, image_grid, psnr_texts
from invgrad.report.tables import RECALLED, comparison_text, unlike_paper

results = ArtefactResults.open(artefact)

# %% [markdown]
# The paper displays a single image for each, and prints its PSNR; it is taken to be the image that is attacked here. Of
# several network seeds the figure shows the first.

# %%
paper = results.verdicts.set_index("cell")
galleries = {cell: results.gallery(cell, count=1) for cell in results.cells}
first = next(iter(galleries.values()))
captions = [f"original ({first.dataset})"]
for cell, gallery in galleries.items():
    settings = results.cells[cell]["label"].replace(", ", "\n")
    captions.append(f"{settings}\n{psnr_texts(gallery)[0]}")
    if cell in paper.index:
        mark = "" if paper.loc[cell, "paper_checked"] else RECALLED
        captions[-1] += f"\npaper{mark}: {decibels(paper.loc[cell, 'paper_value'], FLAT_PSNR)}"
images = [first.originals, *(gallery.reconstructions for gallery in galleries.values())]
note = f"{RECALLED} recalled, not checked. {unlike_paper(results.cells)}"
figure = image_grid([Strip("", torch.cat(images), captions)], results.caption, zoom=6, note=note)
results.save_figure(figure)

# %% [markdown]
# With one image there is no spread over images, and the interval of the difference covers the network seeds only. From a
# single seed none can be given.

# %%
numbers = results.comparison(measure="psnr_shown")
table = comparison_text(numbers)
results.save_table(table, numbers)
table
