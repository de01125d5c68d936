# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Figure 2: the first images of Table 1
#
# The first six images that the cells of Table 1 attack, with the first network seed. They are the first in the order
# of the data set, not the best ones.

# %% tags=["parameters"]
artefact = {}

# %%
from invgrad.evidence import Evidence
from invgrad.plots import above, image_grid
from invgrad.tables import unlike_paper

evidence = Evidence(artefact)

# %% [markdown]
# Cells that attack the same images stand together below their originals, so that both attacks on a network can be
# compared image by image.

# %%
shown = [(about["label"], evidence.gallery(cell, count=6)) for cell, about in evidence.cells.items()]
figure = image_grid(above(shown), evidence.caption, note=unlike_paper(evidence.cells))
evidence.save_figure(figure)
