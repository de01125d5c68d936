# %% [markdown]
# # Images of Table 2
#
# What the numbers of Table 2 look like: for every setting of federated averaging the first clients, originals above
# reconstructions, with the first network seed.

# %% tags=["parameters"]
artefact = "table2-images"

# %%
from invgrad.report.artefact import ArtefactResults
from invgrad.report.image_grid import above, image_grid, in_lines
from invgrad.report.tables import unlike_paper

results = ArtefactResults.open(artefact)

# %% [markdown]
# Sixteen images of each setting, where so many are attacked: two clients of eight, four of four, sixteen of one. The
# images of a client come from one update of its parameters, and each is shown below the original that it belongs to.
# Settings that attack the same images stand together.

# %%
IMAGES = 16
shown = [(about["label"], results.gallery(cell, count=IMAGES)) for cell, about in results.cells.items()]
figure = image_grid(in_lines(above(shown)), results.caption, note=unlike_paper(results.cells))
results.save_figure(figure)
