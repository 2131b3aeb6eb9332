package tui

import (
	"context"
	"fmt"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/tui/model"
	"github.com/mesh-lab/mesh-lab/lab/tui/screen"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Key is a key by its name: Enter, Esc, Tab, Backtab, Up, Down, Left, Right, S-Left, S-Right, PgUp,
// PgDn, Home, End, Backspace, Ctrl-C, or the character that it types.
type Key string

// Key obeys a key.
func (a *App) Key(k Key) Do {
	a.ui.Message, a.ui.Failed = "", false
	switch {
	case k == "Ctrl-C":
		a.quit, a.interrupted = true, true
	case a.ui.Form != nil:
		return a.formKey(k)
	case a.ui.Typing:
		a.typed(k)
	case a.ui.Text != nil || a.ui.Help:
		a.front(k)
	default:
		return a.plain(k)
	}
	return nil
}

// typed edits the filter.
func (a *App) typed(k Key) {
	switch k {
	case "Enter":
		a.ui.Typing = false
	case "Esc":
		a.ui.Typing, a.ui.Filter = false, ""
	default:
		a.ui.Filter = edited(a.ui.Filter, k)
	}
	a.ui.Row[screen.Requests] = 0
}

// edited is a text after a key.
func edited(s string, k Key) string {
	r := []rune(s)
	switch {
	case k == "Backspace" && len(r) > 0:
		return string(r[:len(r)-1])
	case len([]rune(string(k))) == 1:
		return s + string(k)
	}
	return s
}

// front obeys keys while a text is in front.
func (a *App) front(k Key) {
	top := 0
	if a.ui.Text != nil {
		top = a.ui.Text.Top
	}
	switch k {
	case "Esc", "Enter", "?", "Backspace", "Left", "h":
		a.ui.Text, a.ui.Help = nil, false
		return
	case "q":
		a.quit = true
	case "Up", "k":
		top--
	case "Down", "j":
		top++
	case "PgUp":
		top -= a.h - 8
	case "PgDn", " ":
		top += a.h - 8
	case "g", "Home":
		top = 0
	case "G", "End":
		top = 1 << 20
	}
	if a.ui.Text != nil {
		a.ui.Text.Top = max(0, top)
	}
}

// plain obeys keys where nothing is in front.
func (a *App) plain(k Key) Do {
	switch k {
	case "q":
		a.quit = true
	case "?":
		a.ui.Help = true
	case "1", "2", "3", "4", "5", "6":
		a.ui.Tab = screen.Tab(k[0] - '1')
	case "Tab":
		a.ui.Tab = (a.ui.Tab + 1) % screen.Tabs
	case "Backtab":
		a.ui.Tab = (a.ui.Tab + screen.Tabs - 1) % screen.Tabs
	case "/":
		a.ui.Tab, a.ui.Typing = screen.Requests, true
	case " ":
		a.pause()
	case "Left", "h":
		a.step(-1)
	case "Right", "l":
		if k == "l" && !a.ui.Paused {
			return a.open(a.loadForm())
		}
		a.step(1)
	case "S-Left", "H":
		a.step(-20)
	case "S-Right", "L":
		a.step(20)
	case "Esc":
		a.back()
	case "Enter":
		return a.enter()
	case "w":
		return a.open(a.weightForm())
	case "f":
		return a.open(a.faultForm())
	case "s":
		a.stopLoads()
	case "x":
		return a.open(a.healForm())
	default:
		a.move(k)
	}
	return nil
}

// pause stops time, or lets it go on.
func (a *App) pause() {
	a.ui.Paused, a.ui.At = !a.ui.Paused, a.model.Now()
}

// step goes so many slots forth, or back, while paused.
func (a *App) step(n int) {
	if !a.ui.Paused {
		if a.ui.Ended == "" {
			a.say("Space pauses; then one steps", nil)
			return
		}
		a.pause()
	}
	at := a.ui.At + clock.Instant(time.Duration(n)*model.Slot)
	a.ui.At = min(max(at, a.model.Oldest()), a.model.Now())
}

// back undoes the last choice.
func (a *App) back() {
	switch {
	case a.ui.Tab == screen.Requests && a.ui.Filter != "":
		a.ui.Filter = ""
	case a.ui.Tab != screen.Overview:
		a.ui.Tab = screen.Overview
	}
}

// move chooses another line.
func (a *App) move(k Key) {
	by := map[Key]int{"Up": -1, "k": -1, "Down": 1, "j": 1, "PgUp": 8 - a.h, "PgDn": a.h - 8,
		"g": -1 << 20, "Home": -1 << 20, "G": 1 << 20, "End": 1 << 20}[k]
	if by == 0 || a.view == nil {
		return
	}
	switch a.ui.Tab {
	case screen.Overview, screen.Service:
		order := screen.Order(a.view)
		if len(order) == 0 {
			return
		}
		at := 0
		for i, name := range order {
			if name == a.ui.Service {
				at = i
			}
		}
		a.ui.Service = order[min(max(at+by, 0), len(order)-1)]
	case screen.Requests:
		a.rowBy(by, len(a.tap))
	case screen.Faults:
		a.rowBy(by, len(a.view.Faults))
	case screen.Steps:
		a.ui.Row[screen.Steps] = max(-1000, a.ui.Row[screen.Steps]+by)
	case screen.Proxies:
		a.rowBy(by, len(a.view.Proxies))
	}
}

func (a *App) rowBy(by, n int) {
	r := &a.ui.Row[a.ui.Tab]
	if a.ui.Tab == screen.Requests && !a.ui.Paused && by > 0 {
		a.pause() // what is chosen stays where it is
	}
	*r = min(max(*r+by, 0), max(0, n-1))
}

// enter opens what is chosen.
func (a *App) enter() Do {
	switch a.ui.Tab {
	case screen.Overview:
		a.ui.Tab = screen.Service
	case screen.Service:
		a.ui.Tab, a.ui.Filter = screen.Requests, "to:"+a.ui.Service
		a.ui.Row[screen.Requests] = 0
	case screen.Requests:
		if r := a.ui.Row[screen.Requests]; r < len(a.tap) {
			return a.why(a.tap[r].Request)
		}
	}
	return nil
}

// why opens the explanation of a request.
func (a *App) why(r observe.Request) Do {
	if r.ID == "" || a.lab == nil {
		a.say("this request can not be explained: it has no x-request-id", nil)
		return nil
	}
	if !a.ui.Paused {
		a.pause()
	}
	a.say("asking why …", nil)
	hops, lab := a.model.Hops(r.ID), a.lab
	return func(ctx context.Context) func(*App) {
		lines, err := lab.Why(ctx, r.ID, hops)
		return func(a *App) {
			a.say("", err)
			if err == nil {
				a.ui.Text = &screen.Text{Lines: lines,
					Title: fmt.Sprintf("why  %s %s  →  %d  %s", r.Method, r.Path, r.Status, r.ID)}
			}
		}
	}
}

// Click obeys a click.
func (a *App) Click(x, y int) Do {
	if a.ui.Form != nil || a.ui.Text != nil || a.ui.Help {
		return nil
	}
	for _, z := range a.zones {
		if y != z.Y || x < z.X || x >= z.X+z.W {
			continue
		}
		switch {
		case z.Tab >= 0:
			a.ui.Tab = z.Tab
		case z.Service != "" && z.Service == a.ui.Service:
			return a.enter()
		case z.Service != "":
			a.ui.Service = z.Service
		case z.Row == a.ui.Row[a.ui.Tab] && a.ui.Paused:
			return a.enter()
		case z.Row >= 0:
			if !a.ui.Paused && a.ui.Tab == screen.Requests {
				a.pause()
			}
			a.ui.Row[a.ui.Tab] = z.Row
		}
		return nil
	}
	return nil
}
