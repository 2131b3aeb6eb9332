package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/client"
)

// Swept says what was removed.
type Swept struct {
	Containers, Networks, Images int
}

// String is empty when nothing was.
func (s Swept) String() string {
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{s.Containers, "container"}, {s.Networks, "network"}, {s.Images, "image"}} {
		switch {
		case p.n == 1:
			parts = append(parts, "1 "+p.what)
		case p.n > 1:
			parts = append(parts, fmt.Sprintf("%d %ss", p.n, p.what))
		}
	}
	return strings.Join(parts, ", ")
}

// sweepPause is how long Docker is given to finish what a killed client had begun, or another
// sweep; sweepTries is how often.
const (
	sweepPause = 300 * time.Millisecond
	sweepTries = 100
)

// errBusy says that something can not be removed yet: another process still removes what is on it.
var errBusy = errors.New("it is in use")

// Quiet is how long a sweep looks on that nothing of a process that was killed just now is to
// escape: Docker carries out what it had been asked for.
const Quiet = time.Second

// Sweep removes what belongs to processes that have ended: containers, networks, and images that
// have a newer one of their kind. What living ones own it leaves alone. It returns when it has
// found nothing for as long as quiet.
func (e *Engine) Sweep(ctx context.Context, quiet time.Duration) (Swept, error) {
	var all Swept
	until := time.Now().Add(quiet)
	var err error
	for range sweepTries {
		var s Swept
		s, err = e.sweepOnce(ctx)
		all.Containers += s.Containers
		all.Networks += s.Networks
		if err != nil && !errors.Is(err, errBusy) {
			return all, err
		}
		switch now := time.Now(); {
		case err != nil || s != (Swept{}):
			until = now.Add(max(quiet, sweepPause)) // a container may have been in the making
		case !now.Before(until):
			return e.andImages(ctx, all)
		}
		select {
		case <-time.After(sweepPause):
		case <-ctx.Done():
			return all, errors.Join(err, ctx.Err())
		}
	}
	if err != nil {
		return all, err
	}
	return e.andImages(ctx, all)
}

func (e *Engine) andImages(ctx context.Context, all Swept) (_ Swept, err error) {
	all.Images, err = e.sweepImages(ctx)
	return all, err
}

func (e *Engine) sweepOnce(ctx context.Context) (s Swept, err error) {
	labelled := make(client.Filters).Add("label", OwnerLabel)
	containers, err := e.client.ContainerList(ctx,
		client.ContainerListOptions{All: true, Filters: labelled})
	if err != nil {
		return s, fmt.Errorf("docker: list containers: %w", err)
	}
	var ids []string
	for _, c := range containers.Items {
		if dead(c.Labels[OwnerLabel]) {
			ids = append(ids, c.ID)
		}
	}
	s.Containers = len(ids)
	if err := e.removeContainers(ctx, ids); err != nil {
		return s, err
	}
	var busy error
	networks, err := e.client.NetworkList(ctx, client.NetworkListOptions{Filters: labelled})
	if err != nil {
		return s, fmt.Errorf("docker: list networks: %w", err)
	}
	for _, n := range networks.Items {
		if !dead(n.Labels[OwnerLabel]) {
			continue
		}
		_, err := e.client.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{})
		switch {
		case err == nil, cerrdefs.IsNotFound(err):
			s.Networks++
		case strings.Contains(err.Error(), "active endpoints"):
			busy = fmt.Errorf("docker: remove network %s: %w: %w", n.Name, errBusy, err)
		default:
			return s, fmt.Errorf("docker: remove network %s: %w", n.Name, err)
		}
	}
	return s, busy
}

// removers is how many containers are removed at a time.
const removers = 8

// removeContainers ends containers at once and removes them; those that are gone, or being removed,
// are no error.
func (e *Engine) removeContainers(ctx context.Context, ids []string) error {
	slots := make(chan struct{}, removers)
	errs := make([]error, len(ids))
	var wg sync.WaitGroup
	for i, id := range ids {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			_, err := e.client.ContainerRemove(ctx, id,
				client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
			if err != nil && !cerrdefs.IsNotFound(err) &&
				!strings.Contains(err.Error(), "is already in progress") {
				errs[i] = fmt.Errorf("docker: remove container %.12s: %w", id, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// sweepImages removes the lab's images that have a newer one of their kind, unless their maker
// lives or a container uses them.
func (e *Engine) sweepImages(ctx context.Context) (removed int, err error) {
	list, err := e.client.ImageList(ctx, client.ImageListOptions{
		Filters: make(client.Filters).Add("label", imageLabel),
	})
	if err != nil {
		return 0, fmt.Errorf("docker: list images: %w", err)
	}
	slices.SortFunc(list.Items, func(a, b image.Summary) int { return int(b.Created - a.Created) })
	seen := map[string]bool{}
	for _, i := range list.Items {
		kind := i.Labels[imageLabel]
		newest := !seen[kind]
		seen[kind] = true
		if newest || !dead(i.Labels[OwnerLabel]) {
			continue
		}
		_, err := e.client.ImageRemove(ctx, i.ID,
			client.ImageRemoveOptions{Force: len(i.RepoTags) > 1})
		if err == nil {
			removed++
			continue
		}
		// Who sweeps at the same time may have removed it: Docker has several words for that.
		_, there := e.client.ImageInspect(ctx, i.ID)
		going := cerrdefs.IsNotFound(there) || strings.Contains(err.Error(), "does not exist")
		if !cerrdefs.IsConflict(err) && !going {
			return removed, fmt.Errorf("docker: remove image %s: %w", i.RepoTags, err)
		}
	}
	return removed, nil
}
