"""The real controller of Argo Workflows, built here: `bench.batch_job --argo` has it beside the others."""
