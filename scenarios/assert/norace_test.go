//go:build !race

package assert

const thin = 1
