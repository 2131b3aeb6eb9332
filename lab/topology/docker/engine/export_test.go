package engine

import "time"

// Reaper has the reaper's image be another, which may take so long to come.
func Reaper(image string, patience time.Duration) { reaperImage, reaperPatience = image, patience }

// Dead has what the engine makes belong to a process that has ended.
func (e *Engine) Dead() { e.owner.PID, e.owner.Start = 1<<30, "another life" }
