# %% [markdown]
# # Table 2: reconstruction from federated averaging
#
# The clients share no gradient but the difference of the parameters after several local steps. The mean PSNR of what is
# recovered from it stands beside the value that the paper prints, for several numbers of epochs, of images that a client
# holds, and of images in a mini-batch.

# %% tags=["parameters"]
artefact = "table2"

# %%
from invgrad.report.artefact import ArtefactResults
from invgrad.report.tables import comparison_text

results = ArtefactResults.open(artefact)

# %% [markdown]
# Every client counts once, with the mean over its images, as in the paper: ± is the deviation over clients. How many
# images a client mixes into one update is what the rows differ in, so the order in which a client's reconstructions come
# out matters: they belong to the images by their labels' positions, or by content where the attack had to find the labels
# itself.

# %%
numbers = results.comparison()
numbers["images"] = [rows["image"].nunique() for rows in results.by_cell.values()]
numbers["matched_by"] = [", ".join(sorted(set(rows["matched_by"]))) for rows in results.by_cell.values()]
of_images = {"PSNR in dB (± images)": "PSNR in dB (± clients)", "n (images × seeds)": "n (clients × seeds)"}
table = comparison_text(numbers).rename(columns=of_images)
table.insert(2, "images", numbers["images"])
table.insert(3, "images matched by", numbers["matched_by"])
results.save_table(table, numbers)
table
