"""The paper, rebuilt: data -> victims -> what clients share -> reconstructions -> rows per image -> figures, verdicts."""


configfile: "params.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/victims.smk"
include: "workflow/rules/reconstructions.smk"
include: "workflow/rules/metrics.smk"
include: "workflow/rules/figures.smk"


# Steps of seconds, and the one that needs the internet: on a cluster they run where Snakemake does. So do, as their own
# rules say, notebooks and victims that are not trained.
localrules:
    all,
    datasets,
    victims,
    reconstructions,
    metrics,
    figures,
    data,
    measure,
    describe,
    verdict,
    report,


rule all:
    default_target: True
    input:
        # No results of steps before these: where they are gone, their rows stand for them.
        [plan.rows(cell) for cell in CELLS],
        rules.figures.input,
        rules.report.output,


# Also of a group within a job of a cluster.
onstart:
    start_for(workflow)
    if workflow.is_main_process:
        announce(workflow, plan)


# Not before: a job whose result Snakemake has not seen, or gave up with others of its group, need not start anew.
onsuccess:
    if workflow.is_main_process:
        remove_states(files.states(), files.root)
        # After a part of the workflow, or forced jobs: what was made from their results before.
        later = Agreement(files.root, expected(plan)).disagreements()
        tell({path: reason for path, reason in later.items() if path not in stale})
