// Says what the real libraries of GitOps tools take objects for: kstatus (sigs.k8s.io/cli-utils) and, with
// -kustomization FILE (JSON), the healthCheckExprs of a Flux Kustomization (github.com/fluxcd/pkg/runtime/cel).
//
// It reads a stream of JSON objects on stdin and writes one JSON line for each: {"kstatus", "message", "flux"}. An
// object for whose kind the Kustomization has no expressions has no "flux".
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

type verdict struct {
	KStatus string `json:"kstatus"`
	Message string `json:"message"`
	Flux    string `json:"flux,omitempty"`
}

type evaluators map[schema.GroupVersionKind]*cel.StatusEvaluator

func main() {
	kustomization := flag.String("kustomization", "", "JSON file of a Flux Kustomization whose healthCheckExprs are evaluated")
	flag.Parse()
	if err := run(*kustomization); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(kustomization string) error {
	checks, err := load(kustomization)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	decoder, encoder := json.NewDecoder(bufio.NewReader(os.Stdin)), json.NewEncoder(out)
	for {
		var document json.RawMessage
		if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
			return out.Flush()
		} else if err != nil {
			return fmt.Errorf("stdin: %w", err)
		}
		judged, err := judge(document, checks)
		if err != nil {
			return fmt.Errorf("%s: %w", document, err)
		}
		if err := encoder.Encode(judged); err != nil {
			return err
		}
	}
}

func judge(document []byte, checks evaluators) (verdict, error) {
	// UnmarshalJSON keeps integers int64, as a client of the API server has them.
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(document); err != nil {
		return verdict{}, err
	}
	computed, err := status.Compute(object)
	if err != nil {
		return verdict{}, err
	}
	judged := verdict{KStatus: computed.Status.String(), Message: computed.Message}
	if check, ok := checks[object.GroupVersionKind()]; ok {
		evaluated, err := check.Evaluate(context.Background(), object)
		if err != nil {
			return verdict{}, fmt.Errorf("healthCheckExprs: %w", err)
		}
		judged.Flux = evaluated.Status.String()
	}
	return judged, nil
}

func load(path string) (evaluators, error) {
	checks := evaluators{}
	if path == "" {
		return checks, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var kustomization struct {
		Spec struct {
			HealthCheckExprs []kustomize.CustomHealthCheck `json:"healthCheckExprs"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(text, &kustomization); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, check := range kustomization.Spec.HealthCheckExprs {
		evaluator, err := cel.NewStatusEvaluator(&check.HealthCheckExpressions)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", path, check.Kind, err)
		}
		checks[schema.FromAPIVersionAndKind(check.APIVersion, check.Kind)] = evaluator
	}
	return checks, nil
}
