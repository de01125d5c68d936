# %% [markdown]
# # Figure 3: ImageNet through a deep network
#
# Every image of a regular selection from the validation split, so that nobody has picked the good ones: originals
# above what the attack recovers from the gradient of the network.

# %% tags=["parameters"]
artefact = "fig3"

# %%
from invgrad.report.artefact import ArtefactResults
from invgrad.report.image_grid import above, image_grid, in_lines
from invgrad.report.tables import unlike_paper

results = ArtefactResults.open(artefact)

# %% [markdown]
# All images in the order of the data set, cut into lines that fit a page. A crossed box is an attack that failed.

# %%
shown = [(about["label"], results.gallery(cell)) for cell, about in results.cells.items()]
figure = image_grid(in_lines(above(shown)), results.caption, note=unlike_paper(results.cells))
results.save_figure(figure)
