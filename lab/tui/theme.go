package tui

import (
	"github.com/gdamore/tcell/v2"

	"github.com/mesh-lab/mesh-lab/lab/tui/screen"
)

// inks are the colours of inks among a terminal's 256; 0: the terminal's own.
var inks = map[screen.Ink]uint8{
	screen.Dim: 245, screen.Accent: 75, screen.Good: 114, screen.Warn: 179, screen.Bad: 203,
	screen.Series1: 75, screen.Series2: 215, screen.Series3: 115, screen.Series4: 176,
	screen.Series5: 186,
}

// grounds are the colours of grounds among them.
var grounds = map[screen.Ground]uint8{screen.Bar: 236, screen.Selected: 238, screen.Box: 235}

// Frames shows frames on a terminal's screen: of each it hands on the cells that are others than
// before, and nothing else is written.
type Frames struct {
	s         tcell.Screen
	mono      bool
	now, last *screen.Grid
	styles    map[screen.Style]tcell.Style
}

// NewFrames returns the frames of a screen, without colours where mono.
func NewFrames(s tcell.Screen, mono bool) *Frames {
	return &Frames{s: s, mono: mono, styles: map[screen.Style]tcell.Style{}}
}

// Show shows what draw draws.
func (f *Frames) Show(draw func(screen.Canvas)) {
	w, h := f.s.Size()
	if f.now == nil || f.now.W != w || f.now.H != h {
		f.now, f.last = screen.NewGrid(w, h), screen.NewGrid(w, h)
		f.s.Clear()
	}
	f.now.Clear()
	draw(f.now)
	for i, c := range f.now.Cells {
		if c != f.last.Cells[i] {
			f.s.SetContent(i%w, i/w, c.Rune, nil, f.style(c.Style))
		}
	}
	f.now, f.last = f.last, f.now
	f.s.Show()
}

func (f *Frames) style(s screen.Style) tcell.Style {
	st, known := f.styles[s]
	if !known {
		st = styleOf(s, f.mono)
		f.styles[s] = st
	}
	return st
}

func styleOf(s screen.Style, mono bool) tcell.Style {
	st := tcell.StyleDefault.Bold(s.Bold)
	if mono {
		switch s.Ink {
		case screen.Bad, screen.Accent:
			st = st.Bold(true)
		case screen.Dim:
			st = st.Dim(true)
		case screen.Warn:
			st = st.Underline(true)
		}
		return st.Reverse(s.On == screen.Selected || s.On == screen.Bar)
	}
	if n := inks[s.Ink]; n > 0 {
		st = st.Foreground(tcell.PaletteColor(int(n)))
	}
	if n := grounds[s.On]; n > 0 {
		st = st.Background(tcell.PaletteColor(int(n)))
	}
	return st
}
