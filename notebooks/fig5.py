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
from invgrad.tables import RECALLED, comparison, unlike_paper

evidence = Evidence(artefact)

# %%
galleries = {cell: evidence.gallery(cell, count=1) for cell in evidence.cells}
shown = [(evidence.cells[cell]["label"], gallery) for cell, gallery in galleries.items()]
figure = image_grid([beside(shown)], evidence.caption, note=unlike_paper(evidence.cells))
evidence.save_figure(figure)

# %% [markdown]
# The paper shows one image of each network with its PSNR, but not which one it is: the two columns on images shown
# stand beside each other for the record, and no verdict is drawn from them. The verdicts are on the means.

# %%
frames = evidence.summary, evidence.verdicts, evidence.rows
table = comparison(*frames)
paper = f"paper ({RECALLED} recalled)"
table.insert(2, "image shown", [decibels(gallery.psnr[0]).removesuffix(" dB") for gallery in galleries.values()])
table.insert(3, f"image shown, {paper}", comparison(*frames, measure="psnr_shown")[paper])
evidence.save_table(table)
table
