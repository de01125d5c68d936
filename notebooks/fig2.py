# %% [markdown]
# # Figure 2: the first images of Table 1
#
# The first six images that the cells of Table 1 attack, with the first network seed. They are the first in the order
# of the data set, not the best ones.

# %% tags=["parameters"]
artefact = "fig2"

# %%
from invgrad.report.artefact import ArtefactResults
from invgrad.report.image_grid import above, image_grid
from invgrad.report.tables import unlike_paper

results = ArtefactResults.open(artefact)

# %% [markdown]
# Cells that attack the same images stand together below their originals, so that both attacks on a network can be
# compared image by image.

# %%
shown = [(about["label"], results.gallery(cell, count=6)) for cell, about in results.cells.items()]
figure = image_grid(above(shown), results.caption, note=unlike_paper(results.cells))
results.save_figure(figure)
