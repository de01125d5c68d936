"""The paper, rebuilt: data -> victims -> what clients share -> reconstructions -> rows per image -> figures, verdicts."""


configfile: "params.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/victims.smk"
include: "workflow/rules/reconstructions.smk"
include: "workflow/rules/metrics.smk"
include: "workflow/rules/figures.smk"


localrules:
    all,
    datasets,
    victims,
    reconstructions,
    metrics,
    figures,


rule all:
    default_target: True
    input:
        rules.datasets.input,
        rules.victims.input,
        rules.reconstructions.input,
        rules.metrics.input,
        rules.figures.input,
        rules.report.output,
