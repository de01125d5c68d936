# %% [markdown]
# # The error inside the network, layer by layer
#
# Original and reconstruction are passed through the network, and what every layer gives is compared, as in the released
# notebooks. Two images may be far apart in pixels and yet nearly the same to the network, or the other way round: the
# first layers say the former, the last ones the latter. Only the finished reconstructions of the attack are shown.

# %% tags=["parameters"]
artefact = "activation-error"

# %%
import numpy as np

from invgrad.report.charts import FAINT, heading, legend_below, log_scale, subplots
from invgrad.report.artefact import ArtefactResults
from invgrad.report.tables import sample_size, unlike_paper

results = ArtefactResults.open(artefact)
LAYER = ["cell", "layer", "call", "kind"]
ERRORS = {
    "squared_error": "squared error",
    "mean_squared_error": "mean squared error",
    "relative_error": "relative error",
    "cosine_similarity": "cosine similarity",
}

# %% [markdown]
# The table: means over the n images of all network seeds; a layer that is called several times has a line for each
# call. The relative error ‖a(x) − a(x̂)‖ / ‖a(x)‖ is infinite where the original's activations vanish and the
# reconstruction's do not: such images are counted, and left out of its mean.

# %%
errors = results.activations
infinite = np.isinf(errors["relative_error"])
layers = errors.assign(infinite=infinite, relative_error=errors["relative_error"].mask(infinite))
means = {name: "mean" for name in ERRORS}
layers = layers.groupby(LAYER, sort=False, as_index=False).agg(means | {"seed": "size", "infinite": "sum"})
layers["number"] = layers.groupby("cell").cumcount() + 1
layers["label"] = [results.cells[cell]["label"] for cell in layers["cell"]]
numbers = layers.rename(columns={"seed": "n", "infinite": "n_infinite"})
numbers = numbers[["cell", "label", "number", "layer", "call", "kind", *ERRORS, "n", "n_infinite"]]
table = numbers.drop(columns="cell").assign(**{name: numbers[name].map("{:.4g}".format) for name in ERRORS})
table = table.rename(columns=ERRORS | {"label": "cell", "n_infinite": "infinite relative errors"})
results.save_table(table, numbers)
table

# %% [markdown]
# The figure: layers in the order of the forward pass, numbered as in the table.

# %%
kinds = layers["kind"].unique()
note = unlike_paper(results.cells)
figure, axes = subplots(2, len(results.cells), results.caption, note=note, height=1.5, share_x="col", share_y="row")
for panels, (cell, about) in zip(axes.T, results.cells.items()):
    line = layers[layers["cell"] == cell]
    for panel, error in zip(panels, ("relative_error", "cosine_similarity")):
        panel.plot(line["number"], line[error], color=FAINT, linewidth=0.6)
        for number, kind in enumerate(kinds):
            same = line[line["kind"] == kind]
            style = {"marker": "os^Dv*PX<>"[number % 10], "color": f"C{number % 10}", "linestyle": "none"}
            panel.plot(same["number"], same[error], markersize=3, label=kind, **style)
    heading(panels[0], *about["label"].split(": "), sample_size(results.by_cell[cell]))
    log_scale(panels[0], "y")
    panels[1].set(xlabel="layer in the order of the forward pass")
axes[0, 0].set_ylabel("relative error")
axes[1, 0].set_ylabel("cosine similarity")
legend_below(figure)
results.save_figure(figure)
