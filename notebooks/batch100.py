# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # All images of one averaged gradient
#
# Every image of the batch of Figure 7, in the order in which the client holds them, above what the attack recovers.

# %% tags=["parameters"]
artefact = {}

# %%
from invgrad.evidence import Evidence
from invgrad.plots import above, image_grid, in_lines
from invgrad.tables import unlike_paper

evidence = Evidence(artefact)

# %%
shown = [(about["label"], evidence.gallery(cell)) for cell, about in evidence.cells.items()]
figure = image_grid(in_lines(above(shown)), evidence.caption, note=unlike_paper(evidence.cells))
evidence.save_figure(figure)
