// Package tui is the terminal on a lab: it takes batches of what happens into a model, draws the
// model's view, and turns keys into choices and actions. What it draws and decides is pure; only
// Run touches the terminal.
//
//	feed.Batch ─▶ model ─▶ screen.Draw ─▶ tcell ─▶ terminal
//	keys, mouse ─▶ App.Key ─▶ what the user has chosen; actions ─▶ Lab
package tui

import (
	"context"
	"slices"

	"github.com/mesh-lab/mesh-lab/lab/tui/feed"
	"github.com/mesh-lab/mesh-lab/lab/tui/model"
	"github.com/mesh-lab/mesh-lab/lab/tui/screen"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Lab is what can be done to the lab that is watched. Each returns in a sentence what came of it.
type Lab interface {
	// Apply applies an object and waits for every proxy.
	Apply(ctx context.Context, namespace, yaml string) (string, error)
	// Load sends requests until ctx ends.
	Load(ctx context.Context, l Load) (string, error)
	// Break has a fault begin, as a scenario's step writes it; Heal ends those of a name.
	Break(ctx context.Context, yaml string) (string, error)
	Heal(ctx context.Context, name string) (string, error)
	// Why explains a request, line by line; hops are its records.
	Why(ctx context.Context, id string, hops []observe.Request) ([]string, error)
}

// Load is what a load is started with.
type Load struct {
	From, URL   string
	QPS         float64 // 0: no limit
	Connections int
}

// App is the state of the terminal UI. It is not safe for concurrent use.
type App struct {
	model *model.Model
	ui    screen.UI
	lab   Lab // nil: nothing can be done
	name  string
	may   bool // things may be changed

	zones []screen.Zone
	tap   []model.Row
	view  *model.View
	w, h  int
	loads []*running
	work  action // of the form
	quit  bool

	interrupted bool // by Ctrl-C
}

// running is a load that was started here.
type running struct {
	stop chan struct{}
	over bool
}

func (r *running) end() {
	if !r.over {
		r.over = true
		close(r.stop)
	}
}

// NewApp returns the UI of a lab: name is the lab's, as commands want it; what may not be changed
// can be explained at least. lab is nil where not even that can be had.
func NewApp(lab Lab, name string, change, colours bool) *App {
	return &App{model: model.New(), lab: lab, name: name, may: change && lab != nil,
		ui: screen.UI{Actions: change && lab != nil, Colours: colours}, w: 80, h: 24}
}

// Take learns from a batch.
func (a *App) Take(b *feed.Batch) { a.model.Take(b) }

// Ended says that no further batch comes, and why.
func (a *App) Ended(why string) { a.ui.Ended = why }

// now is the moment that is shown.
func (a *App) now() clock.Instant {
	if a.ui.Paused {
		return a.ui.At
	}
	return a.model.Now()
}

// tapped is how many requests can be chosen from.
const tapped = 500

// Draw draws a frame.
func (a *App) Draw(c screen.Canvas) {
	a.w, a.h = c.Size()
	a.view = a.model.At(a.now(), model.Look{Past: a.w, Service: a.ui.Service})
	if !slices.ContainsFunc(a.view.Services, func(s model.Service) bool {
		return s.Name == a.ui.Service
	}) {
		a.choose()
	}
	f := &screen.Frame{View: a.view, Live: a.model.Now()}
	if a.ui.Tab == screen.Requests {
		a.tap = a.model.Tap(model.ParseFilter(a.ui.Filter), a.now(), tapped)
		f.Tap = a.tap
	}
	a.ui.Loads = len(a.loads)
	a.zones = screen.Draw(c, f, &a.ui)
}

// choose chooses a service: one whose requests are split, if there is one.
func (a *App) choose() {
	if len(a.view.Services) == 0 {
		return
	}
	a.ui.Service = a.view.Services[0].Name
	for _, s := range a.view.Services {
		if s.Rule != nil && len(s.Versions) > 1 {
			a.ui.Service = s.Name
		}
	}
}

// Do is work that takes its time: it is done beside, and what comes of it is told to the App.
type Do func(ctx context.Context) (done func(*App))

// say shows a sentence in the last line.
func (a *App) say(text string, err error) {
	a.ui.Message, a.ui.Failed = text, err != nil
	if err != nil {
		a.ui.Message = err.Error()
	}
}

// Quit says whether the user wants to leave.
func (a *App) Quit() bool { return a.quit }
