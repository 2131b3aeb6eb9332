// Package remote is how commands talk to a lab that is up: HTTP with JSON over a unix socket. A
// command that makes its own lab uses the same interface, over a connection in memory.
//
//	mesh-lab apply ─▶ Client ══ unix socket ══▶ Server ─▶ topology.Mesh
package remote

import (
	"encoding/json"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/tlsclient"
	"github.com/mesh-lab/mesh-lab/lab/topology"
)

// Info says which lab answers.
type Info struct {
	Name      string                    `json:"name"`
	PID       int                       `json:"pid"`
	Version   string                    `json:"version"`
	Topology  string                    `json:"topology"`
	Proxy     string                    `json:"proxy"`
	Seed      string                    `json:"seed"`
	Workloads []string                  `json:"workloads"`
	Proxies   int                       `json:"proxies"`
	Gateways  []topology.GatewayAddress `json:"gateways"`
}

// File is one configuration file as it travels.
type File struct {
	Name string `json:"name"`
	Data []byte `json:"data"`
}

// change is what is applied or deleted.
type change struct {
	Namespace string `json:"namespace,omitempty"` // of objects that name none
	Files     []File `json:"files"`
}

// Applied is the answer to apply and delete.
type Applied struct {
	Proxies  int           `json:"proxies"`
	Total    int           `json:"total"`
	Took     time.Duration `json:"took_ns"`
	Objects  []string      `json:"objects"` // "service/reviews configured"
	Warnings []string      `json:"warnings,omitempty"`
}

// Object is one object of the configuration in effect, or a pod that runs.
type Object struct {
	APIVersion string          `json:"apiVersion"`
	Kind       string          `json:"kind"`
	Namespace  string          `json:"namespace,omitempty"`
	Name       string          `json:"name"`
	YAML       string          `json:"yaml"`
	JSON       json.RawMessage `json:"json"`
	Columns    []string        `json:"columns,omitempty"` // kubectl's further columns
}

// Load is a load as the command asks for it.
type Load struct {
	ID          string        `json:"id"` // names it for Stop
	From        string        `json:"from"`
	Gateway     string        `json:"gateway,omitempty"`
	URL         string        `json:"url"`
	Method      string        `json:"method,omitempty"`
	Body        string        `json:"body,omitempty"`
	Headers     []string      `json:"headers,omitempty"`
	QPS         float64       `json:"qps"`
	Connections int           `json:"connections"`
	Requests    int64         `json:"requests,omitempty"`
	Duration    time.Duration `json:"duration_ns,omitempty"`
	Timeout     time.Duration `json:"timeout_ns,omitempty"`
	Percentiles []float64     `json:"percentiles,omitempty"`
	Resolution  time.Duration `json:"resolution_ns,omitempty"`
	Uniform     bool          `json:"uniform,omitempty"`
	Jitter      bool          `json:"jitter,omitempty"`
	NoCatchUp   bool          `json:"nocatchup,omitempty"`
	KeepAlive   bool          `json:"keepalive"`
	Labels      string        `json:"labels,omitempty"`

	TLS tlsclient.Options `json:"tls"`
}

// LoadEvent is one line of a load's answer: progress, or the end.
type LoadEvent struct {
	Sent   int64           `json:"sent"`
	Fortio json.RawMessage `json:"fortio,omitempty"`
	Splits []Split         `json:"splits,omitempty"`
	Error  string          `json:"error,omitempty"`
}

// Split counts what one version of a service received, as its callers' proxies saw it.
type Split struct {
	Service  string           `json:"service"`
	Version  string           `json:"version"`
	Requests int64            `json:"requests"`
	Statuses map[string]int64 `json:"statuses"`
	Flags    map[string]int64 `json:"flags,omitempty"`
}

// problem is the body of an error answer.
type problem struct {
	Error   string `json:"error"`
	Invalid bool   `json:"invalid"` // the input is to blame, not the lab
}

// InvalidError is an error that the input is to blame for.
type InvalidError struct{ Msg string }

// Error returns the problems, one a line.
func (e *InvalidError) Error() string { return e.Msg }
