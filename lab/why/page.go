package why

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// page collects lines.
type page struct {
	width int
	lines []Line
}

func (p *page) blank() { p.lines = append(p.lines, nil) }

// row is a line with what it is about in front.
func (p *page) row(label string, spans ...Span) {
	p.wrap(Line{{fmt.Sprintf("  %-*s", indent-2, label), Label}}, indent, spans)
}

// more goes on with the row before.
func (p *page) more(deeper int, spans ...Span) { p.text(indent+deeper, spans...) }

func (p *page) text(at int, spans ...Span) {
	p.wrap(Line{{strings.Repeat(" ", at), Plain}}, at, spans)
}

// wrap breaks words to the width; what does not fit on one line is cut.
func (p *page) wrap(line Line, at int, spans []Span) {
	used, fresh, blanks := line.Width(), true, 0
	next := func() {
		p.lines = append(p.lines, line)
		line, used, fresh = Line{{strings.Repeat(" ", at+2), Plain}}, at+2, true
		blanks = 0
	}
	for _, s := range spans {
		for i, word := range strings.Split(s.Text, " ") {
			if i > 0 {
				blanks++
			}
			for word != "" {
				n := utf8.RuneCountInString(word)
				if used+blanks+n > p.width && !fresh {
					next()
					continue
				}
				if blanks > 0 && !fresh {
					line = append(line, Span{strings.Repeat(" ", blanks), s.Style})
					used += blanks
				}
				blanks = 0
				part := word
				if room := p.width - used; n > room {
					part = word[:bytesOf(word, max(room, 1))]
				}
				line = append(line, Span{part, s.Style})
				used, fresh = used+utf8.RuneCountInString(part), false
				if word = word[len(part):]; word != "" {
					next()
				}
			}
		}
	}
	p.lines = append(p.lines, line)
}

// bytesOf is how many bytes the first n characters of a text take.
func bytesOf(s string, n int) int {
	at := 0
	for ; n > 0 && at < len(s); n-- {
		_, size := utf8.DecodeRuneInString(s[at:])
		at += size
	}
	return at
}
