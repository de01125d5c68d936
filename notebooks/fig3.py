# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Figure 3: ImageNet through a deep network
#
# Every image of a regular selection from the validation split, so that nobody has picked the good ones: originals
# above what the attack recovers from the gradient of the network.

# %% tags=["parameters"]
artefact = {}

# %%
from invgrad.evidence import Evidence
from invgrad.plots import above, image_grid, in_lines
from invgrad.tables import unlike_paper

evidence = Evidence(artefact)

# %% [markdown]
# All images in the order of the data set, cut into lines that fit a page. A crossed box is an attack that failed.

# %%
shown = [(about["label"], evidence.gallery(cell)) for cell, about in evidence.cells.items()]
figure = image_grid(in_lines(above(shown)), evidence.caption, note=unlike_paper(evidence.cells))
evidence.save_figure(figure)
