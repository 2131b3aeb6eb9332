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

// canvas draws on a terminal.
type canvas struct {
	s    tcell.Screen
	mono bool
}

// Size returns the terminal's columns and rows.
func (c canvas) Size() (w, h int) { return c.s.Size() }

// Put writes a cell.
func (c canvas) Put(x, y int, r rune, s screen.Style) {
	c.s.SetContent(x, y, r, nil, c.style(s))
}

func (c canvas) style(s screen.Style) tcell.Style {
	st := tcell.StyleDefault.Bold(s.Bold)
	if c.mono {
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

// NewCanvas returns a canvas on a terminal's screen, without colours where mono.
func NewCanvas(s tcell.Screen, mono bool) screen.Canvas { return canvas{s, mono} }
