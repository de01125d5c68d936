# %% [markdown]
# # Ablation: the contribution of each part of the attack
#
# The proposed attack on a trained network, and three attacks that differ from it in one part: the squared Euclidean
# distance instead of the cosine, no total variation, L-BFGS instead of Adam on the sign of the gradient. The images are
# the same, so that what differs below an original is due to that part, and to the noise that an attack starts from.

# %% tags=["parameters"]
artefact = "ablation"

# %%
import numpy as np

from invgrad.report.artefact import ArtefactResults
from invgrad.report.image_grid import above, image_grid
from invgrad.report.tables import comparison_text, fixed, unlike_paper

SHOWN = 6

results = ArtefactResults.open(artefact)

# %% [markdown]
# The first images in the order of the data set, with the first network seed.

# %%
galleries = [(about["label"], results.gallery(cell, count=SHOWN)) for cell, about in results.cells.items()]
figure = image_grid(above(galleries), results.caption, note=unlike_paper(results.cells))
results.save_figure(figure)

# %% [markdown]
# The paper prints standard errors of the mean here, not the spread over images as in its other tables. So the table has
# both: the spread in the first and the standard error, which is smaller by the root of the number of images, in columns of
# its own.

# %%
numbers = results.comparison()
numbers["standard_error"] = numbers["std_images"] / np.sqrt(numbers["n_images"])
numbers["paper_standard_error"] = numbers["paper_std"] / np.sqrt(numbers["paper_n"])
table = comparison_text(numbers)
table.insert(3, "standard error", numbers["standard_error"].map(fixed))
table.insert(9, "paper’s standard error", numbers["paper_standard_error"].map(fixed))
results.save_table(table, numbers)
table
