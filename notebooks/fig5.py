# %% [markdown]
# # Figure 5: network depth and width
#
# The first image from networks of several depths and widths, and the mean PSNR over all images attacked, beside what
# the paper prints: the PSNR of the image that it shows, and its mean.

# %% tags=["parameters"]
artefact = "fig5"

# %%
from invgrad.report.artefact import ArtefactResults
from invgrad.report.image_grid import beside, image_grid, psnr_texts
from invgrad.report.tables import RECALLED, comparison_text, unlike_paper

results = ArtefactResults.open(artefact)

# %%
galleries = {cell: results.gallery(cell, count=1) for cell in results.cells}
shown = [(results.cells[cell]["label"], gallery) for cell, gallery in galleries.items()]
figure = image_grid([beside(shown)], results.caption, note=unlike_paper(results.cells))
results.save_figure(figure)

# %% [markdown]
# The paper shows one image of each network with its PSNR, but not which one it is: the two columns on images shown
# stand beside each other for the record, and no verdict is drawn from them. The verdicts are on the means.

# %%
numbers, of_shown = results.comparison(), results.comparison(measure="psnr_shown")
numbers["psnr_shown"] = [gallery.psnr[0] for gallery in galleries.values()]
numbers[["paper_shown", "paper_shown_checked"]] = of_shown[["paper_value", "paper_checked"]]
table = comparison_text(numbers)
paper = f"paper ({RECALLED} recalled)"
table.insert(2, "image shown", [psnr_texts(gallery)[0] for gallery in galleries.values()])
table.insert(3, f"image shown, {paper}", comparison_text(of_shown)[paper])
results.save_table(table, numbers)
table
