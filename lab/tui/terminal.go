package tui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"time"

	"github.com/gdamore/tcell/v2"

	"github.com/mesh-lab/mesh-lab/lab/tui/feed"
)

// ErrTerminal is why there is no terminal that can be drawn on.
var ErrTerminal = errors.New("the terminal")

// ErrInterrupted is why Run ends with Ctrl-C.
var ErrInterrupted = errors.New("interrupted")

// Options are what is watched, and how.
type Options struct {
	// Next waits for the next batch; io.EOF: there is none.
	Next func(ctx context.Context) (*feed.Batch, error)
	// Over is called when Next has said io.EOF, and tells in a word how it ended; may be nil.
	Over   func() string
	Lab    Lab    // may be nil
	Name   string // of the lab, as commands want it
	Change bool   // things may be changed from here
	Mono   bool   // no colours
	// Tty is the terminal; nil: /dev/tty.
	Tty tcell.Tty
}

// frameEvery is the shortest time between two frames that no key asked for: 10 a second.
const frameEvery = 100 * time.Millisecond

// edge is the terminal, and what goes on beside it.
type edge struct {
	app    *App
	s      tcell.Screen
	frames *Frames
	doing  chan func(*App) // what came of work
	batch  chan *feed.Batch
	ended  chan error // Next's
	paniqd chan any   // what a goroutine panicked with
	work   sync.WaitGroup
}

// Run shows the terminal UI until the user leaves or ctx ends. Whatever happens, the terminal is as
// it was before.
func Run(ctx context.Context, o Options) (err error) {
	s, err := open(o.Tty)
	if err != nil {
		return fmt.Errorf("%w can not be drawn on: %w", ErrTerminal, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.EnableMouse(tcell.MouseButtonEvents)
	e := &edge{app: NewApp(o.Lab, o.Name, o.Change, !o.Mono), s: s, frames: NewFrames(s, o.Mono),
		doing: make(chan func(*App)), batch: make(chan *feed.Batch), ended: make(chan error, 1),
		paniqd: make(chan any, 1)}
	defer e.leave(cancel) // after a panic too
	e.beside(func() { e.ended <- e.read(ctx, o.Next) })
	events, quit := make(chan tcell.Event, 64), make(chan struct{})
	defer close(quit)
	e.beside(func() { s.ChannelEvents(events, quit) })
	return e.loop(ctx, o, events)
}

// leaveWithin bounds how long the end waits for what was begun from here, such as loads.
const leaveWithin = 3 * time.Second

// leave gives the terminal back and ends what goes on.
func (e *edge) leave(cancel func()) {
	e.s.Fini()
	cancel()
	over := make(chan struct{})
	go func() { e.work.Wait(); close(over) }()
	select {
	case <-over:
	case <-time.After(leaveWithin):
	}
}

func open(tty tcell.Tty) (tcell.Screen, error) {
	var s tcell.Screen
	var err error
	if tty == nil {
		s, err = tcell.NewTerminfoScreen()
	} else {
		s, err = tcell.NewTerminfoScreenFromTty(tty)
	}
	if err == nil {
		err = s.Init()
	}
	return s, err
}

// beside does work in a goroutine of its own; a panic in it is the loop's.
func (e *edge) beside(f func()) {
	go func() {
		defer func() {
			if p := recover(); p != nil {
				select {
				case e.paniqd <- fmt.Sprintf("%v\n\n%s", p, debug.Stack()):
				default:
				}
			}
		}()
		f()
	}()
}

// read takes batches until there are no more.
func (e *edge) read(ctx context.Context, next func(context.Context) (*feed.Batch, error)) error {
	for {
		b, err := next(ctx)
		if err != nil {
			return err
		}
		select {
		case e.batch <- b:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// loop draws, and obeys, until the end.
func (e *edge) loop(ctx context.Context, o Options, events <-chan tcell.Event) error {
	tick := time.NewTicker(frameEvery)
	defer tick.Stop()
	e.draw()
	for stale := false; !e.app.Quit(); {
		select {
		case ev := <-events:
			if ev == nil {
				return nil
			}
			e.obey(ctx, ev)
			e.draw()
			stale = false
		case b := <-e.batch:
			e.app.Take(b)
			stale = true
		case done := <-e.doing:
			done(e.app)
			stale = true
		case err := <-e.ended:
			switch {
			case ctx.Err() != nil:
			case errors.Is(err, io.EOF):
				e.app.Ended("over")
				if o.Over != nil {
					e.app.Ended(o.Over())
				}
			default:
				return err
			}
			stale = true
		case <-tick.C:
			if stale {
				e.draw()
				stale = false
			}
		case p := <-e.paniqd:
			panic(p)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if e.app.interrupted {
		return ErrInterrupted
	}
	return nil
}

func (e *edge) draw() { e.frames.Show(e.app.Draw) }

// obey turns an event into what the app knows.
func (e *edge) obey(ctx context.Context, ev tcell.Event) {
	var do Do
	switch ev := ev.(type) {
	case *tcell.EventResize:
		e.s.Sync()
	case *tcell.EventKey:
		do = e.app.Key(keyOf(ev))
	case *tcell.EventMouse:
		x, y := ev.Position()
		switch ev.Buttons() {
		case tcell.Button1:
			do = e.app.Click(x, y)
		case tcell.WheelUp:
			do = e.app.Key("Up")
		case tcell.WheelDown:
			do = e.app.Key("Down")
		}
	}
	if do == nil {
		return
	}
	e.work.Add(1)
	e.beside(func() {
		defer e.work.Done()
		done := do(ctx)
		select {
		case e.doing <- done:
		case <-ctx.Done():
		}
	})
}

// keys are the names of keys that type nothing.
var keys = map[tcell.Key]Key{
	tcell.KeyEnter: "Enter", tcell.KeyEscape: "Esc", tcell.KeyTab: "Tab",
	tcell.KeyBacktab: "Backtab", tcell.KeyUp: "Up", tcell.KeyDown: "Down", tcell.KeyLeft: "Left",
	tcell.KeyRight: "Right", tcell.KeyPgUp: "PgUp", tcell.KeyPgDn: "PgDn", tcell.KeyHome: "Home",
	tcell.KeyEnd: "End", tcell.KeyBackspace: "Backspace", tcell.KeyBackspace2: "Backspace",
	tcell.KeyCtrlC: "Ctrl-C",
}

func keyOf(ev *tcell.EventKey) Key {
	if ev.Key() == tcell.KeyRune {
		return Key(string(ev.Rune()))
	}
	k := keys[ev.Key()]
	if ev.Modifiers()&tcell.ModShift != 0 && (k == "Left" || k == "Right") {
		return "S-" + k
	}
	return k
}
