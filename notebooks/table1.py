# %% [markdown]
# # Table 1: reconstruction of single images
#
# The mean PSNR of both attacks beside the value that the paper prints. Every number comes from the rows that the metrics
# step wrote, one per image and network seed.

# %% tags=["parameters"]
artefact = "table1"

# %%
from invgrad.report.artefact import ArtefactResults
from invgrad.report.tables import comparison_text

results = ArtefactResults.open(artefact)

# %% [markdown]
# Two spreads are kept apart: over the images of one network, as the paper prints it, and over networks that differ in
# nothing but the seed of their random initialisation, which the paper's single network hides. Failed trials and exact
# reconstructions, whose PSNR is infinite, are counted and not averaged.
#
# The interval of the difference covers both spreads and the paper's own. A cell that was run with other settings or data
# than the paper's is not comparable, whatever its number; the reason lists them.

# %%
numbers = results.comparison()
table = comparison_text(numbers)
results.save_table(table, numbers)
table
