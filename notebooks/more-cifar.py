# %% [markdown]
# # More reconstructions of Table 1
#
# The first images, as in Figure 2, may be lucky or unlucky ones. Here every cell of the proposed attack shows its
# best, its middle and its worst images by PSNR, with the first network seed.

# %% tags=["parameters"]
artefact = "more-cifar"

# %%
from invgrad.report.artefact import ArtefactResults
from invgrad.report.image_grid import Strip, image_grid, psnr_texts
from invgrad.report.tables import unlike_paper

results = ArtefactResults.open(artefact)

# %% [markdown]
# All images of a cell, ranked by PSNR: the first three, three around the median, the last three; failed ones are
# last. Of a cell with nine images or fewer all are shown.

# %%
EACH = 3
strips = []
for cell, about in results.cells.items():
    gallery = results.gallery(cell)
    count = len(gallery.psnr)
    middle = (count - EACH) // 2
    ranks = [rank for rank in range(count) if min(rank, count - 1 - rank) < EACH or middle <= rank < middle + EACH]
    shown = gallery.pick([gallery.ranking[rank] for rank in ranks])
    captions = [f"rank {rank + 1} of {count}\n{psnr}" for rank, psnr in zip(ranks, psnr_texts(shown), strict=True)]
    strips.append(Strip(f"original ({shown.dataset})", shown.originals))
    strips.append(Strip(about["label"], shown.reconstructions, captions))
figure = image_grid(strips, results.caption, note=unlike_paper(results.cells))
results.save_figure(figure)
