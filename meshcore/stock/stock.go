// Package stock turns what istiod generates for Istio's own Envoy build and its agent into what any
// Envoy carries out: secrets over the ADS connection, ALPN by a stock filter.
package stock
