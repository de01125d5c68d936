# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Images of Table 2
#
# What the numbers of Table 2 look like: for every setting of federated averaging the first clients, originals above
# reconstructions, with the first network seed.

# %% tags=["parameters"]
artefact = {}

# %%
from invgrad.evidence import Evidence
from invgrad.plots import above, image_grid, in_lines
from invgrad.tables import unlike_paper

evidence = Evidence(artefact)

# %% [markdown]
# As many whole clients as two lines of eight images hold. The images of a client come from one update of its
# parameters, and each is shown above the reconstruction that belongs to it.

# %%
strips = []
for cell, about in evidence.cells.items():
    clients = max(1, 16 // about["images_per_client"])
    gallery = evidence.gallery(cell, count=clients * about["images_per_client"])
    strips += in_lines(above([(about["label"], gallery)]))
figure = image_grid(strips, evidence.caption, note=unlike_paper(evidence.cells))
evidence.save_figure(figure)
