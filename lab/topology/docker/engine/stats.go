package engine

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// stats asks Docker for what a container uses, at once.
func (c *Container) stats(ctx context.Context) (s container.StatsResponse, err error) {
	r, err := c.lab.e.client.ContainerStats(ctx, c.ID, client.ContainerStatsOptions{
		Stream: false, IncludePreviousSample: false,
	})
	if err != nil {
		return s, c.fail("measure", err)
	}
	err = json.NewDecoder(r.Body).Decode(&s)
	return s, errors.Join(err, r.Body.Close())
}
