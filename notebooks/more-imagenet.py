# %% [markdown]
# # More ImageNet reconstructions
#
# Every image that was attacked through the ResNet-18, the successes and the failures: originals above
# reconstructions, in the order in which the configuration names them.

# %% tags=["parameters"]
artefact = "more-imagenet"

# %%
from invgrad.report.artefact import ArtefactResults
from invgrad.report.image_grid import above, image_grid, in_lines
from invgrad.report.tables import unlike_paper

results = ArtefactResults.open(artefact)

# %%
shown = [(about["label"], results.gallery(cell)) for cell, about in results.cells.items()]
figure = image_grid(in_lines(above(shown)), results.caption, note=unlike_paper(results.cells))
results.save_figure(figure)
