package screen

import "strings"

// long draws a text.
func (p *painter) long(b pane, t *Text) {
	b.text(0, 0, clip(t.Title, b.w), Style{Ink: Accent, Bold: true})
	t.Top = max(0, min(t.Top, len(t.Lines)-(b.h-2)))
	for i, l := range t.Lines[t.Top:] {
		if 2+i >= b.h {
			b.right(b.w, b.h-1, " ↓ more ", Style{On: Selected})
			break
		}
		st := Style{}
		if strings.HasPrefix(l, "#") || l != "" && !strings.HasPrefix(l, " ") &&
			strings.HasSuffix(l, ":") {
			st.Bold = true
		}
		b.text(0, 2+i, clip(l, b.w), st)
	}
}

// keysHelp is the help.
var keysHelp = [][2]string{
	{"1 … 6  Tab", "choose a screen"},
	{"↑ ↓  k j", "choose a line; PgUp PgDn a page, g G the ends"},
	{"Enter", "open: a service, its requests, why one went where it did"},
	{"Esc", "back"},
	{"/", "filter requests: 5xx UO /path from:a to:b version:v2 !not"},
	{"Space", "pause; then ← → (h l) step half a second, ⇧← ⇧→ (H L) ten"},
	{"", ""},
	{"w", "change the weights of the chosen service's route"},
	{"l  s", "start a load; stop those started here"},
	{"f  x", "break something; heal the chosen fault"},
	{"", "each shows its YAML and its command first, and asks"},
	{"q  Ctrl-C", "leave"},
}

// signs are what else there is to see.
var signs = [][2]string{
	{"██▓▓▏░░··", "a share; what is wanted of it is shaded"},
	{"▲ drift", "what is wanted has left the interval of what was seen;"},
	{"", "a right mesh shows that once in a million times"},
	{"↻ ⇢ ◌ ⊘", "retries, mirrored copies, ejected host, limit reached"},
}

// help draws the keys and what signs mean.
func (p *painter) help(b pane) {
	b.text(0, 0, "Keys", Style{Ink: Accent, Bold: true})
	for i, k := range keysHelp {
		b.text(2, 1+i, k[0], bold)
		b.text(15, 1+i, clip(k[1], b.w-15), Style{})
	}
	for i, k := range signs {
		y := len(keysHelp) + 2 + i
		b.text(2, y, k[0], Style{Ink: Series1})
		b.text(15, y, clip(k[1], b.w-15), dim)
	}
}

// form draws a window above the rest.
func (p *painter) form(all pane) {
	f := p.ui.Form
	lines := strings.Split(strings.TrimRight(f.YAML, "\n"), "\n")
	w := min(all.w-4, 100)
	h := min(all.h-4, len(f.Fields)+len(lines)+8)
	b := all.part((all.w-w)/2, (all.h-h)/2, w, h)
	box := Style{On: Box}
	for y := range b.h {
		b.fill(y, box)
	}
	frame(b)
	b.text(2, 0, " "+f.Title+" ", Style{Ink: Accent, On: Box, Bold: true})
	y := 1
	for i, x := range f.Fields {
		st := box
		if i == f.Chosen && !f.Sure {
			st = Style{On: Selected, Bold: true}
		}
		b.text(2, y, clip(x.Name, 12), Style{Ink: Dim, On: Box})
		for k := 15; k < b.w-2; k++ {
			b.put(k, y, ' ', st)
		}
		value := x.Value
		switch {
		case i != f.Chosen || f.Sure:
		case x.Choices != nil || x.Number:
			value = "◂ " + value + " ▸"
		default:
			value += "▏"
		}
		b.text(15, y, clip(value, b.w-17), st)
		y++
	}
	y++
	room := b.h - y - 4
	if cut := len(lines) - room; cut > 0 { // what is changed stands below
		lines = lines[cut:]
		b.text(2, y-1, "⋮", Style{Ink: Dim, On: Box})
	}
	for _, l := range lines {
		b.text(2, y, clip(l, b.w-4), Style{Ink: Series3, On: Box})
		y++
	}
	b.text(2, b.h-3, clip("$ "+f.Command, b.w-4), Style{Ink: Dim, On: Box})
	switch {
	case f.Problem != "":
		b.text(2, b.h-2, clip(f.Problem, b.w-4), Style{Ink: Bad, On: Box})
	case f.Sure:
		b.text(2, b.h-2, "Do it? y / Esc", Style{Ink: Warn, On: Box, Bold: true})
	default:
		b.text(2, b.h-2, "Enter goes on, Esc leaves", Style{Ink: Dim, On: Box})
	}
}

// frame draws the border of a window.
func frame(b pane) {
	st := Style{Ink: Accent, On: Box}
	for x := range b.w {
		b.put(x, 0, '─', st)
		b.put(x, b.h-1, '─', st)
	}
	for y := range b.h {
		b.put(0, y, '│', st)
		b.put(b.w-1, y, '│', st)
	}
	for i, r := range []rune("╭╮╰╯") {
		b.put(i%2*(b.w-1), i/2*(b.h-1), r, st)
	}
}
