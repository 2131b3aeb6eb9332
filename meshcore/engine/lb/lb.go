// Package lb holds Envoy's load-balancing policies over a set of hosts.
package lb
