package screen

import (
	"fmt"
	"html"
	"strings"
)

// hex are the colours of inks in a picture, on a dark ground.
var hex = [...]string{"#c0caf5", "#7b8199", "#7aa2f7", "#9ece6a", "#e0af68", "#f7768e",
	"#7aa2f7", "#ff9e64", "#73daca", "#bb9af7", "#cfc9a4"}

// grounds are the colours of grounds in a picture.
var grounds = [...]string{"", "#24283b", "#33394f", "#1f2335"}

// The sizes of a picture's cells and border, in pixels.
const (
	cellWidth, cellHeight = 8.4, 18
	border                = 16
)

// SVG returns a picture of the grid, always the same of the same grid; label says what it shows.
func (g *Grid) SVG(label string) string {
	var b strings.Builder
	w, h := float64(g.W)*cellWidth+2*border, g.H*cellHeight+2*border
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%d" `+
		`role="img" aria-label="%s">`+"\n", w, h, html.EscapeString(label))
	b.WriteString(`<rect width="100%" height="100%" rx="8" fill="#1a1b26"/>` + "\n" +
		`<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,DejaVu Sans Mono,monospace" ` +
		`font-size="14" fill="` + hex[Plain] + `" xml:space="preserve">` + "\n")
	for y := range g.H {
		g.run(y, func(x, n int, s Style) {
			if s.On == None {
				return
			}
			fmt.Fprintf(&b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n",
				border+float64(x)*cellWidth, border+y*cellHeight, float64(n)*cellWidth, cellHeight,
				grounds[s.On])
		})
	}
	for y := range g.H {
		g.run(y, func(x, n int, s Style) {
			g.words(&b, x, y, n, s)
		})
	}
	b.WriteString("</g></svg>\n")
	return b.String()
}

// run calls f for each stretch of one style in a row.
func (g *Grid) run(y int, f func(x, n int, s Style)) {
	row := g.Cells[y*g.W : (y+1)*g.W]
	for x := 0; x < len(row); {
		n := 1
		for x+n < len(row) && row[x+n].Style == row[x].Style {
			n++
		}
		f(x, n, row[x].Style)
		x += n
	}
}

// words writes a stretch's text, each word at its place; blocks, which must fill their cells
// whatever the font, are drawn.
func (g *Grid) words(b *strings.Builder, x, y, n int, s Style) {
	var word []rune
	for i := range n + 1 {
		r := ' '
		if i < n {
			r = g.Cells[y*g.W+x+i].Rune
		}
		if left, top, w, h, opacity := block(r); w > 0 {
			fmt.Fprintf(b, `<rect x="%.2f" y="%.2f" width="%.2f" height="%.2f" fill="%s" `+
				`fill-opacity="%g"/>`+"\n", border+(float64(x+i)+left)*cellWidth,
				border+(float64(y)+top)*cellHeight, w*cellWidth, h*cellHeight, hex[s.Ink], opacity)
			r = ' '
		}
		if r != ' ' && r != 0 {
			word = append(word, r)
			continue
		}
		g.word(b, x+i-len(word), y, word, s)
		word = word[:0]
	}
}

// word writes characters side by side, as wide as their cells are.
func (g *Grid) word(b *strings.Builder, x, y int, word []rune, s Style) {
	if len(word) == 0 {
		return
	}
	weight := ""
	if s.Bold {
		weight = ` font-weight="bold"`
	}
	fmt.Fprintf(b, `<text x="%.1f" y="%d" textLength="%.1f" fill="%s"%s>%s</text>`+"\n",
		border+float64(x)*cellWidth, border+y*cellHeight+13, float64(len(word))*cellWidth,
		hex[s.Ink], weight, html.EscapeString(string(word)))
}

// block is where a block character is filled, in parts of its cell, and how densely; w is 0 for
// others.
func block(r rune) (left, top, w, h, opacity float64) {
	for i, x := range rising {
		if x == r {
			part := float64(i+1) / 8
			return 0, 1 - part, 1, part, 1
		}
	}
	for i, x := range wide {
		if x == r {
			return 0, 0.12, float64(i+1) / 8, 0.76, 1
		}
	}
	switch r {
	case '▓':
		return 0, 0, 1, 1, 0.75
	case '▒':
		return 0, 0, 1, 1, 0.6
	case '░':
		return 0, 0, 1, 1, 0.25
	}
	return 0, 0, 0, 0, 0
}
