# %% [markdown]
# # Figure 7: five images out of one averaged gradient
#
# One client averages its gradient over a large batch of images with distinct labels. Of all reconstructions these are
# the five with the highest PSNR; `batch100` shows every one.

# %% tags=["parameters"]
artefact = "fig7"

# %%
from invgrad.report.artefact import ArtefactResults
from invgrad.report.image_grid import Strip, image_grid, psnr_texts
from invgrad.report.tables import unlike_paper

results = ArtefactResults.open(artefact)

# %% [markdown]
# Positions count from 0 within the batch. The ranking needs the originals: an attacker could not pick these five.

# %%
[(cell, about)] = results.cells.items()
batch = results.gallery(cell)
best = batch.ranking[:5]
shown = batch.pick(best)
captions = [f"position {position}\n{psnr}" for position, psnr in zip(best, psnr_texts(shown), strict=True)]
strips = [Strip(f"original ({shown.dataset})", shown.originals), Strip(about["label"], shown.reconstructions, captions)]

# %%
note = f"Picked with the originals at hand: the highest {len(best)} PSNRs of the {len(batch.psnr)} images. "
results.save_figure(image_grid(strips, results.caption, note=note + unlike_paper(results.cells)))
