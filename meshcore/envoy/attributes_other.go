//go:build !linux

package envoy

import "syscall"

// attributes keep Envoy out of the terminal's process group, so that Ctrl-C reaches mesh-lab alone,
// which stops Envoy in its turn. There is no parent-death signal: Sweep ends what is left.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
