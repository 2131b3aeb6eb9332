package envoy

import "syscall"

// attributes keep Envoy out of the terminal's process group, so that Ctrl-C reaches mesh-lab alone,
// which stops Envoy in its turn; and have the kernel kill it when mesh-lab is gone.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
