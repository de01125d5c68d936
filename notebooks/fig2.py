# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Figure 2: the first images, original beside reconstruction
#
# The first six images that each cell of Table 1 attacks, with the first network seed. They are the first ones in the
# order of the data set, not the best ones.

# %% tags=["parameters"]
title = ""
about = ""
cells = {}
rows = ""
figures = ""

# %%
from pathlib import Path

from invgrad.gallery import read_gallery
from invgrad.plots import Strip, image_grid, save_figure

galleries = {
    cell: read_gallery(shown["reconstructions"], shown["truths"], count=6) for cell, shown in cells.items()
}

# %% [markdown]
# A row of originals stands above the cells that attack them.

# %%
strips = []
for cell, gallery in galleries.items():
    originals = Strip(f"original ({gallery.dataset})", gallery.originals)
    if not any(originals.label == strip.label for strip in strips):
        strips.append(originals)
    strips.append(Strip(f"{cells[cell]['label']}, seed {cells[cell]['seed']}", gallery.reconstructions, [f"{value:.2f} dB" for value in gallery.psnr]))

full_title = f"{title}. {about}"
figure = image_grid(strips, full_title)
save_figure(figure, Path(figures) / "fig2", full_title)
