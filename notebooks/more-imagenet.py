# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # More ImageNet reconstructions
#
# Every image that was attacked through the ResNet-18, the successes and the failures: originals above
# reconstructions, in the order in which the configuration names them.

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
