# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Table 2: what federated averaging gives away
#
# The clients share no gradient but the difference of the parameters after several local steps. The mean PSNR of what is
# recovered from it stands beside the value that the paper prints, for several numbers of epochs, of images that a client
# holds, and of images in a mini-batch.

# %% tags=["parameters"]
artefact = {}

# %%
from invgrad.evidence import Evidence
from invgrad.tables import comparison

evidence = Evidence(artefact)
table = comparison(evidence.summary, evidence.verdicts, evidence.rows)

# %% [markdown]
# Every image of every client counts once, so that n is the number of clients times the images that each holds. How many
# images a client mixes into one update is what the rows differ in, so the order in which a client's reconstructions come
# out matters: they belong to the images by their labels' positions, or by content where the attack had to find the labels
# itself.

# %%
matched = evidence.rows.groupby("cell")["matched_by"].agg(lambda values: ", ".join(sorted(set(values))))
clients = evidence.rows.groupby("cell")["client"].nunique()
table.insert(2, "clients", clients.loc[list(evidence.cells)].tolist())
table.insert(3, "images matched by", matched.loc[list(evidence.cells)].tolist())
evidence.save_table(table)
table
