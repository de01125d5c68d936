# %% [markdown]
# # All images of one averaged gradient
#
# Every image of the batch of Figure 7, in the order in which the client holds them, above what the attack recovers.

# %% tags=["parameters"]
artefact = "batch100"

# %%
from invgrad.report.artefact import ArtefactResults
from invgrad.report.image_grid import above, image_grid, in_lines
from invgrad.report.tables import unlike_paper

results = ArtefactResults.open(artefact)

# %%
shown = [(about["label"], results.gallery(cell)) for cell, about in results.cells.items()]
figure = image_grid(in_lines(above(shown)), results.caption, note=unlike_paper(results.cells))
results.save_figure(figure)
