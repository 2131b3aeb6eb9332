package lab

import (
	"context"
	"errors"
	"fmt"

	"github.com/mesh-lab/mesh-lab/lab/topology/docker/engine"
)

// sweepDocker removes what killed labs have left in Docker; where there is no Docker, there is
// nothing.
func (e *env) sweepDocker(ctx context.Context) error {
	d, err := engine.Connect(ctx, e.log)
	if err != nil {
		var unusable *engine.UnusableError
		if errors.As(err, &unusable) {
			e.log.Info("Docker is not swept", "why", err)
			return nil
		}
		return err
	}
	defer d.Close()
	swept, err := d.Sweep(ctx, engine.Quiet)
	if text := swept.String(); text != "" {
		fmt.Fprintf(e.out, "docker: removed what a killed mesh-lab had left: %s\n", text)
	}
	return err
}

// topologyDocker says whether a lab can run in Docker.
func topologyDocker(ctx context.Context, e *env) finding {
	f := finding{Name: "topology docker"}
	d, err := engine.Connect(ctx, e.log)
	if err != nil {
		f.Note = err.Error()
		var unusable *engine.UnusableError
		if errors.As(err, &unusable) {
			f.Note = "Docker: " + unusable.Why
			if unusable.Err != nil {
				f.Note += ": " + clip(unusable.Err.Error())
			}
			f.Way = unusable.Do
		}
		return f
	}
	defer d.Close()
	f.OK = true
	f.Note = fmt.Sprintf("Docker %s (API %s, %s/%s); images are made on the spot", d.Version, d.API,
		d.OS, d.Arch)
	for _, n := range d.Notes {
		f.Note += "; " + n
	}
	return f
}
