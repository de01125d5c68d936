# %% [markdown]
# # Figure 1: one image, two networks
#
# The original, and what the attack recovers from the gradient of a shallow and of a very deep network. Both cells
# attack the same image as their first image.

# %% tags=["parameters"]
artefact = "fig1"

# %%
from invgrad.report.artefact import ArtefactResults
from invgrad.report.image_grid import beside, image_grid
from invgrad.report.tables import unlike_paper

results = ArtefactResults.open(artefact)

# %% [markdown]
# The first image of each cell stands beside its original, with the first network seed. Under each reconstruction are
# its structural similarity (SSIM) and its PSNR. Neither sees whether a photograph is recognised: a flat image of the
# mean colour may have more of both. The last line lists the deviations from the paper.

# %%
similarity = {cell: rows["ssim"].iloc[0] for cell, rows in results.by_cell.items()}
labels = {cell: f"{about['label']}\nSSIM {similarity[cell]:.2f}" for cell, about in results.cells.items()}
shown = [(label, results.gallery(cell, count=1)) for cell, label in labels.items()]
figure = image_grid([beside(shown)], results.caption, note=unlike_paper(results.cells))
results.save_figure(figure)
