# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Figure 5: network depth and width
#
# The first image from networks of several depths and widths, and the mean PSNR over all images attacked, beside what
# the paper prints: the PSNR of the image that it shows, and its mean.

# %% tags=["parameters"]
artefact = {}

# %%
from invgrad.evidence import Evidence
from invgrad.plots import beside, decibels, image_grid
from invgrad.tables import comparison, unlike_paper

evidence = Evidence(artefact)

# %%
galleries = {cell: evidence.gallery(cell, count=1) for cell in evidence.cells}
shown = [(evidence.cells[cell]["label"], gallery) for cell, gallery in galleries.items()]
figure = image_grid([beside(shown)], evidence.caption, note=unlike_paper(evidence.cells))
evidence.save_figure(figure)

# %% [markdown]
# The paper shows one image of each network with its PSNR, but not which one it is: the two columns on displayed
# images stand beside each other for the record, and no verdict is drawn from them. The verdicts are on the means.

# %%
table = comparison(evidence.summary, evidence.verdicts, evidence.rows)
reported = evidence.verdicts[evidence.verdicts.measure == "psnr_shown"].set_index("cell").paper_value
reported = reported.reindex(evidence.cells)
table.insert(2, "image shown", [decibels(gallery.psnr[0]) for gallery in galleries.values()])
table.insert(3, "image shown in the paper", [decibels(value) if value > 0 else "–" for value in reported])
evidence.save_table(table)
table
