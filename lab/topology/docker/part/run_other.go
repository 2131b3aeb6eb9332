//go:build !linux

package part

import (
	"context"
	"errors"
	"log/slog"
)

// errLinux is why parts run in containers only.
var errLinux = errors.New("this is part of a lab in containers, which run Linux")

func hub(context.Context, Hub, *slog.Logger) error         { return errLinux }
func pod(context.Context, Pod, *slog.Logger) error         { return errLinux }
func control(context.Context, Control, *slog.Logger) error { return errLinux }
func dns(context.Context, DNS, *slog.Logger) error         { return errLinux }
