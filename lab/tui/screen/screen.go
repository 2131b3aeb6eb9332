package screen

import (
	"fmt"
	"strings"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/tui/model"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// Tab is one of the screens.
type Tab int

// The screens.
const (
	Overview Tab = iota
	Service
	Requests
	Faults
	Steps
	Proxies
	Tabs // how many there are
)

// names are what tabs are called.
var names = [Tabs]string{"Overview", "Service", "Requests", "Faults", "Steps", "Proxies"}

// UI is what the user has chosen.
type UI struct {
	Tab     Tab
	Service string    // that is chosen
	Row     [Tabs]int // that is chosen, of tabs with a list
	Filter  string    // of requests
	Typing  bool      // the filter is being typed
	Paused  bool
	At      clock.Instant // when paused
	Help    bool
	Text    *Text  // in front of everything
	Form    *Form  // as Text
	Message string // in the last line, in the place of keys
	Failed  bool   // Message tells of a failure
	Loads   int    // that were started from here and run
	Actions bool   // things may be changed from here
	Ended   string // why nothing more comes; empty: it does
	Colours bool   // so that the legend can say how versions are told apart
}

// Text is a long text, such as the explanation of a request.
type Text struct {
	Title string
	Lines []string
	Top   int // the first line that is shown
}

// Field is one line of a form.
type Field struct {
	Name    string
	Value   string
	Choices []string // to choose from with ← and →; nil: it is typed
	Number  bool     // ← and → change it
}

// Form is a window that asks for what an action needs, and shows what it means.
type Form struct {
	Title   string
	Fields  []Field
	Chosen  int
	YAML    string // what it means
	Command string // that does the same
	Problem string // why it can not be done; empty: it can
	Sure    bool   // it is asked whether it shall be done
}

// Frame is what is drawn.
type Frame struct {
	View *model.View
	Tap  []model.Row
	Live clock.Instant // the lab's now
}

// Zone is a part of the screen that can be clicked: a tab, or a row of what is shown.
type Zone struct {
	X, Y, W int
	Tab     Tab    // -1: none
	Row     int    // -1: none
	Service string // that it chooses
}

// Least is the smallest terminal that there is room for.
const (
	LeastWidth  = 80
	LeastHeight = 24
)

// painter draws one frame.
type painter struct {
	f     *Frame
	ui    *UI
	v     *model.View
	zones []Zone
}

// Draw draws a frame and tells what can be clicked.
func Draw(c Canvas, f *Frame, ui *UI) []Zone {
	p := &painter{f: f, ui: ui, v: f.View}
	all := whole(c)
	if all.w < LeastWidth || all.h < LeastHeight {
		all.text(0, 0, clip(fmt.Sprintf("%d×%d is too small; %d×%d is the least",
			all.w, all.h, LeastWidth, LeastHeight), all.w), Style{Ink: Warn})
		return nil
	}
	p.header(all)
	body := all.part(1, 3, all.w-2, all.h-5)
	switch {
	case ui.Text != nil:
		p.long(body, ui.Text)
	case ui.Help:
		p.help(body)
	default:
		[Tabs]func(pane){
			p.overview, p.service, p.requests, p.faults, p.steps, p.proxies,
		}[ui.Tab](body)
	}
	if ui.Form != nil {
		p.form(all)
	}
	p.footer(all)
	return p.zones
}

// header draws the two lines at the top: which lab, what time, which screens.
func (p *painter) header(all pane) {
	bar := Style{On: Bar}
	all.fill(0, bar)
	x := all.text(1, 0, "mesh-lab", Style{Ink: Accent, On: Bar, Bold: true})
	l := p.v.Lab
	for _, s := range []string{l.Name, l.Topology, l.Proxy, "seed " + l.Seed} {
		if s != "" && s != "seed " && x+len(s)+3 < all.w-30 {
			x = all.text(x, 0, "  "+s, bar)
		}
	}
	state, st := "● live", Style{Ink: Good, On: Bar, Bold: true}
	switch {
	case p.v.At == 0 && p.ui.Ended == "":
		state, st.Ink = "… reaching the lab", Dim
	case p.ui.Paused:
		state = fmt.Sprintf("❚❚ paused  −%s", span(time.Duration(p.f.Live-p.v.At)))
		st.Ink = Warn
	case p.ui.Ended != "":
		state, st.Ink = "■ "+p.ui.Ended, Plain
	}
	if p.v.Every > 1 {
		state = fmt.Sprintf("1 of %d requests sampled  ", p.v.Every) + state
	}
	if p.ui.Loads > 0 {
		state = fmt.Sprintf("▶ %d load  ", p.ui.Loads) + state
	}
	at := all.right(all.w-1, 0, state, st)
	all.right(at-2, 0, clockTime(p.v.At), bar)
	x = 1
	for t := range Tabs {
		label := fmt.Sprintf(" %d %s ", t+1, names[t])
		s := Style{Ink: Dim}
		if t == p.ui.Tab {
			s = Style{Ink: Accent, On: Selected, Bold: true}
		}
		p.zones = append(p.zones, Zone{X: x, Y: 1, W: len(label), Tab: t, Row: -1})
		x = all.text(x, 1, label, s)
	}
	if n := p.trouble(); n != "" {
		all.right(all.w-1, 1, clip(n, all.w-1-x), Style{Ink: Warn})
	}
}

// trouble counts what is out of order, by its sign.
func (p *painter) trouble() string {
	var parts []string
	drift := 0
	for _, s := range p.v.Services {
		for _, v := range s.Versions {
			if v.Share != nil && v.Share.Drift {
				drift++
				break
			}
		}
	}
	open := 0
	for _, b := range p.v.Breakers {
		if b.Refused > 0 {
			open++
		}
	}
	for _, x := range []struct {
		n    int
		what string
	}{{drift, "▲"}, {len(p.v.Out), "◌"}, {open, "⊘"}, {len(p.v.Faults), "✗"}} {
		if x.n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", x.what, x.n))
		}
	}
	return strings.Join(parts, "  ")
}

// clockTime prints an instant of the lab: 02:03.4.
func clockTime(t clock.Instant) string {
	tenths := int64(t) / int64(100*time.Millisecond)
	return fmt.Sprintf("%02d:%02d.%d", tenths/600, tenths/10%60, tenths%10)
}

// footer draws the last line: a message, or the keys.
func (p *painter) footer(all pane) {
	y := all.h - 1
	if m := p.ui.Message; m != "" {
		ink := Accent
		if p.ui.Failed {
			ink = Bad
		}
		all.text(1, y, clip(m, all.w-2), Style{Ink: ink})
		return
	}
	x, end := 1, all.w-1
	key := func(k [2]string) {
		x = all.text(x, y, k[0], Style{Ink: Accent, Bold: true})
		x = all.text(x, y, " "+k[1]+"  ", Style{Ink: Dim})
	}
	if f := p.ui.Form; f == nil && !p.ui.Typing {
		end -= len("? help  q quit  ")
	}
	for _, k := range p.keys() {
		if x+len([]rune(k[0]+k[1]))+1 <= end {
			key(k)
		}
	}
	if end < all.w-1 {
		x = end + 2
		key([2]string{"?", "help"})
		key([2]string{"q", "quit"})
	}
}

// keys are those that matter now.
func (p *painter) keys() [][2]string {
	ui := p.ui
	switch {
	case ui.Form != nil && ui.Form.Sure:
		return [][2]string{{"y", "do it"}, {"Esc", "back"}}
	case ui.Form != nil:
		return [][2]string{{"Tab", "next field"}, {"←→", "change"}, {"Enter", "go on"},
			{"Esc", "leave"}}
	case ui.Text != nil, ui.Help:
		return [][2]string{{"↑↓", "scroll"}, {"Esc", "back"}}
	case ui.Typing:
		return [][2]string{{"Enter", "filter"}, {"Esc", "no filter"}}
	}
	var out [][2]string
	if ui.Paused {
		out = append(out, [2]string{"Space", "go on"}, [2]string{"←→", "step"})
	}
	switch ui.Tab {
	case Overview:
		out = append(out, [2]string{"Enter", "open"})
	case Service:
		out = append(out, [2]string{"Enter", "requests"})
	case Requests:
		out = append(out, [2]string{"/", "filter"}, [2]string{"Enter", "why"})
	}
	if ui.Actions {
		out = append(out, [2]string{"w", "weights"}, [2]string{"l", "load"})
		if ui.Loads > 0 {
			out = append(out, [2]string{"s", "stop load"})
		}
		out = append(out, [2]string{"f", "fault"})
		if ui.Tab == Faults {
			out = append(out, [2]string{"x", "heal"})
		}
	}
	if !ui.Paused {
		out = append(out, [2]string{"Space", "pause"})
	}
	return append(out, [2]string{"Tab", "next"})
}
