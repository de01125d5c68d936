# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Figure 1: one photograph, two networks
#
# The original, and what the attack recovers from the gradient of a shallow and of a very deep network. Both cells
# attack the same photograph as their first image.

# %% tags=["parameters"]
artefact = {}

# %%
from invgrad.evidence import Evidence
from invgrad.plots import beside, image_grid
from invgrad.tables import unlike_paper

evidence = Evidence(artefact)

# %% [markdown]
# The first image of each cell stands beside its original, with the first network seed. Under each reconstruction is
# its PSNR; the last line says what keeps the picture from being compared with the paper's.

# %%
shown = [(about["label"], evidence.gallery(cell, count=1)) for cell, about in evidence.cells.items()]
figure = image_grid([beside(shown)], evidence.caption, note=unlike_paper(evidence.cells))
evidence.save_figure(figure)
