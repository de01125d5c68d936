# %% [markdown]
# # The settings of every experiment
#
# Nothing is typed here: the table is what the workflow runs, read from the description that it makes of its
# configuration. A row is one experiment or several with equal settings. Behind each setting stands where it comes from,
# and the paper's value where this scale, or the user, changed it.

# %% tags=["parameters"]
artefact = "hyperparameters"

# %%
from invgrad.report.artefact import ArtefactResults
from invgrad.report.settings_table import PROVENANCE, settings_in_long_form, settings_table

results = ArtefactResults.open(artefact)
cells = results.description["cells"]

# %% [markdown]
# Settings that no experiment changes would fill columns with one value each, so they are listed above the table instead.
# The CSV file holds all of them, one line per experiment and setting.

# %%
table, same = settings_table(cells)
marks = ", ".join(f"[{mark}] {provenance}" for provenance, mark in PROVENANCE.items())
note = f"Where a setting comes from: {marks}. {same}"
results.save_table(table, settings_in_long_form(cells), note=note)
table
