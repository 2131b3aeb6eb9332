//go:build !linux

package hold

import "errors"

// errLinux is why nothing here can be done: only containers do it, and they are Linux.
var errLinux = errors.New("hold: queues of packets are Linux only")

// Holder is for Linux.
type Holder struct{}

// New is for Linux.
func New(func() int64) *Holder { return &Holder{} }

// Able is for Linux.
func Able() error { return errLinux }

// Set is for Linux.
func (*Holder) Set(Fault) error { return errLinux }

// Heal is for Linux.
func (*Holder) Heal(string) error { return errLinux }

// Count is for Linux.
func (*Holder) Count(string) (Count, error) { return Count{}, errLinux }
