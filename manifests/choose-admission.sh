#!/bin/sh
# Which admission component fits the cluster of the current kubeconfig: prints its name (admission, admission-v1beta1 or
# admission-validating) on standard output, and why on standard error.
#
# It asks which version of MutatingAdmissionPolicy is served, and then tries one: a policy that stamps nothing but a
# ConfigMap of its own is installed, a ConfigMap is created as a dry run until it is stamped, and the policy is deleted.
# A served policy may do nothing: --runtime-config without the feature gate accepts it and ignores it.
# Needs kubectl, and the right to create and delete mutating admission policies and to create ConfigMaps in the
# namespace default. SECONDS_TO_WAIT (30): how long a policy may take until it counts.
set -eu

name=curation-choose-admission
seconds=${SECONDS_TO_WAIT:-30}
say() { echo "$*" >&2; }

served=$(kubectl get --raw /apis/admissionregistration.k8s.io)
version=
for each in v1 v1beta1; do
    case $served in *"\"admissionregistration.k8s.io/$each\""*)
        case $(kubectl get --raw "/apis/admissionregistration.k8s.io/$each") in *'"mutatingadmissionpolicies"'*)
            version=$each
            break
        esac
    esac
done
if [ -z "$version" ]; then
    say "This API server serves no MutatingAdmissionPolicy: Kubernetes older than 1.36, without the switches."
    echo admission-validating
    exit
fi

clean() {
    kubectl delete --ignore-not-found --wait=false \
        "mutatingadmissionpolicybindings.$version.admissionregistration.k8s.io/$name" \
        "mutatingadmissionpolicies.$version.admissionregistration.k8s.io/$name" >&2
}
trap clean EXIT
trap 'exit 130' INT TERM

kubectl apply --server-side -f - >&2 <<EOF
apiVersion: admissionregistration.k8s.io/$version
kind: MutatingAdmissionPolicy
metadata: {name: $name}
spec:
  failurePolicy: Ignore
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules:
      - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps], resourceNames: [$name]}
  mutations:
    - patchType: JSONPatch
      jsonPatch: {expression: '[JSONPatch{op: "add", path: "/data", value: {"stamped": "yes"}}]'}
---
apiVersion: admissionregistration.k8s.io/$version
kind: MutatingAdmissionPolicyBinding
metadata: {name: $name}
spec: {policyName: $name}
EOF

waited=0
while :; do
    stamped=$(kubectl create configmap "$name" -n default --dry-run=server -o 'jsonpath={.data.stamped}')
    [ "$stamped" = yes ] && break
    if [ "$waited" -ge "$seconds" ]; then
        say "MutatingAdmissionPolicy is served as $version, but does nothing (tried for $seconds s): the API server runs"
        say "without --feature-gates=MutatingAdmissionPolicy=true, or with that admission plugin disabled. Set it, or:"
        echo admission-validating
        exit
    fi
    sleep 1
    waited=$((waited + 1))
done
say "MutatingAdmissionPolicy is served as $version, and works."
if [ "$version" = v1 ]; then echo admission; else echo admission-v1beta1; fi
