// Package screen draws what a lab looks like on a canvas of cells: pure functions of a model.View
// and of what the user has chosen. A canvas may be a terminal's, a text's or a picture's.
//
//	model.View + UI ─▶ Draw ─▶ Canvas ─┬─▶ a terminal (lab/tui)
//	                                   ├─▶ text with its inks (goldens)
//	                                   └─▶ SVG (documentation)
package screen

import (
	"strings"
	"unicode"

	"github.com/rivo/uniseg"
)

// Ink is what a cell's character means; the canvas knows its colour.
type Ink uint8

// The inks. Those of series tell versions apart.
const (
	Plain Ink = iota
	Dim
	Accent
	Good
	Warn
	Bad
	Series1
	Series2
	Series3
	Series4
	Series5
)

// Ground is what a cell's background means.
type Ground uint8

// The grounds.
const (
	None     Ground = iota
	Bar             // of the line at the top
	Selected        // of what is chosen
	Box             // of a window above the rest
)

// Style is how a cell looks.
type Style struct {
	Ink  Ink
	On   Ground
	Bold bool
}

// Canvas takes cells. What lies outside of it is dropped.
type Canvas interface {
	Size() (w, h int)
	// Put writes one character of width 1.
	Put(x, y int, r rune, s Style)
}

// Cell is a character and its style.
type Cell struct {
	Rune  rune
	Style Style
}

// Grid is a canvas in memory.
type Grid struct {
	W, H  int
	Cells []Cell // row by row
}

// NewGrid returns an empty grid.
func NewGrid(w, h int) *Grid {
	g := &Grid{W: w, H: h, Cells: make([]Cell, w*h)}
	g.Clear()
	return g
}

// Clear empties the grid.
func (g *Grid) Clear() {
	for i := range g.Cells {
		g.Cells[i] = Cell{Rune: ' '}
	}
}

// Size returns columns and rows.
func (g *Grid) Size() (w, h int) { return g.W, g.H }

// Put writes a cell.
func (g *Grid) Put(x, y int, r rune, s Style) {
	if x >= 0 && x < g.W && y >= 0 && y < g.H {
		g.Cells[y*g.W+x] = Cell{r, s}
	}
}

// String returns the characters, without spaces at the ends of lines.
func (g *Grid) String() string {
	var b strings.Builder
	for y := range g.H {
		line := make([]rune, g.W)
		for x := range line {
			line[x] = g.Cells[y*g.W+x].Rune
		}
		b.WriteString(strings.TrimRight(string(line), " "))
		b.WriteByte('\n')
	}
	return b.String()
}

// inks are the letters of styles in Inks.
const inks = " .agwb12345"

// Inks returns a letter for each cell's ink, . dim, a accent, g good, w warn, b bad, 1 to 5
// series; where the ground is set, in upper case or as = - and _ for plain, dim ones and digits.
func (g *Grid) Inks() string {
	var b strings.Builder
	for y := range g.H {
		line := make([]byte, g.W)
		for x := range line {
			s := g.Cells[y*g.W+x].Style
			c := inks[s.Ink]
			switch {
			case s.On == None:
			case c >= 'a':
				c -= 'a' - 'A'
			case c == '.':
				c = '-'
			default:
				c = '='
			}
			line[x] = c
		}
		b.WriteString(strings.TrimRight(string(line), " "))
		b.WriteByte('\n')
	}
	return b.String()
}

// pane is a part of a canvas.
type pane struct {
	c          Canvas
	x, y, w, h int
}

func whole(c Canvas) pane {
	w, h := c.Size()
	return pane{c, 0, 0, w, h}
}

// part returns a part of a pane; what is outside of the pane is cut off.
func (p pane) part(x, y, w, h int) pane {
	x, y = min(max(x, 0), p.w), min(max(y, 0), p.h)
	return pane{p.c, p.x + x, p.y + y, max(0, min(w, p.w-x)), max(0, min(h, p.h-y))}
}

// put writes a character.
func (p pane) put(x, y int, r rune, s Style) {
	if x < 0 || x >= p.w || y < 0 || y >= p.h {
		return
	}
	p.c.Put(p.x+x, p.y+y, single(r), s)
}

// single returns a character of width 1: others, and those that a terminal would obey, are
// replaced. What is shown comes from requests.
func single(r rune) rune {
	if r >= ' ' && r < 127 || r >= 0x2500 && r < 0x2600 {
		return r
	}
	if !unicode.IsPrint(r) || uniseg.StringWidth(string(r)) != 1 {
		return '·'
	}
	return r
}

// text writes a text from x on and returns where it ends; what does not fit is cut off.
func (p pane) text(x, y int, s string, st Style) int {
	for _, r := range s {
		p.put(x, y, r, st)
		x++
	}
	return x
}

// right writes a text that ends before x.
func (p pane) right(x, y int, s string, st Style) int {
	at := x - len([]rune(s))
	p.text(at, y, s, st)
	return at
}

// fill gives a row a ground.
func (p pane) fill(y int, s Style) {
	for x := range p.w {
		p.put(x, y, ' ', s)
	}
}

// clip shortens a text to w columns.
func clip(s string, w int) string {
	r := []rune(s)
	if len(r) <= w {
		return s
	}
	if w < 1 {
		return ""
	}
	return string(r[:w-1]) + "…"
}
