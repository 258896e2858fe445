// The CRDs of the Prometheus operator; nothing is compiled.
module curation.dev/monitoring

go 1.26

require github.com/prometheus-operator/prometheus-operator v0.85.0
