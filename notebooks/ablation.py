# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Ablation: what each part of the attack adds
#
# The proposed attack on a trained network, and three attacks that differ from it in one part: the squared Euclidean
# distance instead of the cosine, no total variation, L-BFGS instead of Adam on the sign of the gradient. The images are
# the same, so that what differs below an original is due to that part, and to the noise that an attack starts from.

# %% tags=["parameters"]
artefact = {}

# %%
import numpy as np

from invgrad.evidence import Evidence
from invgrad.plots import above, image_grid
from invgrad.tables import comparison, mean_and_spread, unlike_paper

SHOWN = 6

evidence = Evidence(artefact)

# %% [markdown]
# The first images in the order of the data set, with the first network seed.

# %%
galleries = [(about["label"], evidence.gallery(cell, count=SHOWN)) for cell, about in evidence.cells.items()]
figure = image_grid(above(galleries), evidence.caption, note=unlike_paper(evidence.cells))
evidence.save_figure(figure)

# %% [markdown]
# The paper prints standard errors of the mean here, not the spread over images as in its other tables. So the table has
# both: the spread in the first and the standard error, which is smaller by the root of the number of images, in columns of
# its own.

# %%
table = comparison(evidence.summary, evidence.verdicts, evidence.rows)
ours = evidence.summary
paper = evidence.verdicts.set_index("cell").reindex(ours.index)
errors = {
    "standard error": ours["std_images"] / np.sqrt(ours["n_images"]),
    "paper’s standard error": paper["paper_std"] / np.sqrt(paper["paper_n"].astype(float)),
}
for position, (name, values) in zip((3, 9), errors.items()):
    table.insert(position, name, [mean_and_spread(value, np.nan) for value in values])
evidence.save_table(table)
table
