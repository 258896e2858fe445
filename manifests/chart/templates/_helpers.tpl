{{/* The image, by digest where there is one. */}}
{{- define "curation.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* v1, v1beta1, validating or none. */}}
{{- define "curation.admission" -}}
{{- $mode := .Values.admission.mode -}}
{{- if eq $mode "auto" -}}
{{- $mode = ternary "v1" "validating" (semverCompare ">=1.36.0-0" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- if and .Values.admission.noSelfApproval (not (has $mode (list "v1" "v1beta1"))) -}}
{{- fail (printf "admission.noSelfApproval needs the names that a MutatingAdmissionPolicy records, and admission.mode is %s here: set admission.mode to v1 or v1beta1 where the cluster has it, or admission.noSelfApproval to false" $mode) -}}
{{- end -}}
{{- $mode -}}
{{- end -}}
