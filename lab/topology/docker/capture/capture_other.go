//go:build !linux

package capture

import (
	"errors"

	"github.com/mesh-lab/mesh-lab/meshcore/istio/intercept"
)

// errLinux is why nothing here can be done: only containers do it, and they are Linux.
var errLinux = errors.New("capture: nftables is Linux only")

// Install is for Linux.
func Install(*intercept.Rules) error { return errLinux }

// Remove is for Linux.
func Remove() error { return errLinux }

// SetVIPs is for Linux.
func SetVIPs([]VIP) error { return errLinux }

// Break is for Linux.
func Break(Fault) error { return errLinux }

// Hold is for Linux.
func Hold(Held) error { return errLinux }

// Heal is for Linux.
func Heal(string) error { return errLinux }

// Counted is for Linux.
func Counted(string) (Count, error) { return Count{}, errLinux }

// Faults is for Linux.
func Faults() ([]string, error) { return nil, errLinux }
