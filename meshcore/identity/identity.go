// Package identity is the mesh's certificate authority: it makes the root certificate and those of
// workloads as Istio makes them, and renews them in time. Keys are in memory only.
package identity
