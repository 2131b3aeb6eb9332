package formatter

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Time is a compiled time format. Envoy's own specifiers are %s, %f and %1f to %9f
// (source/common/common/utility.cc DateFormatter); all others are those of absl::FormatTime, which
// knows %E*S and the like, and leaves the rest to strftime in the C locale. Specifiers that none of
// them knows stay as they are.
type Time struct {
	pieces []timePiece
	local  bool
	iso    string // in place of pieces
}

// timePiece is text, or what a specifier gives.
type timePiece struct {
	text string
	f    func(at time.Time, out []byte) []byte
}

// Envoy source/common/formatter/stream_info_formatter.cc getSystemTimeFormatNewlinePattern.
var newline = regexp.MustCompile(`%[-_0^#]*[1-9]*(E|O)?n`)

// flagged are the C library's own extensions: %-d, %_H, %^a, %03d.
var flagged = regexp.MustCompile(`%([-_0^#+]+[0-9]*|[0-9]+)[a-eg-zA-Z]`)

// ParseTime compiles a format; the empty one is 2006-01-02T15:04:05.000Z, with the zone's offset
// for local times.
func ParseTime(format string, local bool) (*Time, error) {
	t := &Time{local: local}
	if newline.MatchString(format) {
		return nil, Refusal("Invalid header configuration. Format string contains newline.")
	}
	if format == "" {
		t.iso = "2006-01-02T15:04:05.000Z"
		if local {
			t.iso = "2006-01-02T15:04:05.000-0700"
		}
		return t, nil
	}
	if m := flagged.FindString(strings.ReplaceAll(format, "%%", "")); m != "" {
		return nil, fmt.Errorf("flags and widths of time formats (%s) are not carried out yet", m)
	}
	for format != "" {
		n := strings.IndexByte(format, '%')
		if n < 0 {
			n = len(format)
		}
		if n > 0 {
			t.pieces = append(t.pieces, timePiece{text: format[:n]})
			format = format[n:]
			continue
		}
		p, used := specifier(format)
		t.pieces = append(t.pieces, p)
		format = format[used:]
	}
	return t, nil
}

// Append appends the time.
func (t *Time) Append(at time.Time, out []byte) []byte {
	if t.local {
		at = at.Local()
	} else {
		at = at.UTC()
	}
	if t.iso != "" {
		return at.AppendFormat(out, t.iso)
	}
	for i := range t.pieces {
		p := &t.pieces[i]
		if p.f == nil {
			out = append(out, p.text...)
			continue
		}
		out = p.f(at, out)
	}
	return out
}

// specifier reads the specifier that s begins with.
func specifier(s string) (timePiece, int) {
	if len(s) >= 3 && s[1] >= '1' && s[1] <= '9' && s[2] == 'f' {
		return timePiece{f: fraction(int(s[1] - '0'))}, 3
	}
	if strings.HasPrefix(s, "%f") {
		return timePiece{f: fraction(9)}, 2
	}
	if p, used, ok := extended(s); ok {
		return p, used
	}
	for _, z := range []string{"%::z", "%:z"} {
		if strings.HasPrefix(s, z) {
			return timePiece{f: offset(len(z) - 2)}, len(z)
		}
	}
	at := 1
	if at < len(s) && (s[at] == 'E' || s[at] == 'O') {
		at++
	}
	if at < len(s) {
		if f, ok := strftime[s[at]]; ok {
			return timePiece{f: f}, at + 1
		}
		at++
	}
	return timePiece{text: s[:at]}, at
}

// extended reads those specifiers of absl::FormatTime that begin with %E.
func extended(s string) (timePiece, int, bool) {
	if !strings.HasPrefix(s, "%E") {
		return timePiece{}, 0, false
	}
	rest := s[2:]
	switch {
	case strings.HasPrefix(rest, "*z"):
		return timePiece{f: offset(2)}, 4, true
	case strings.HasPrefix(rest, "z"):
		return timePiece{f: offset(1)}, 3, true
	case strings.HasPrefix(rest, "T"):
		return timePiece{text: "T"}, 3, true
	case strings.HasPrefix(rest, "4Y"):
		return timePiece{f: layout("2006")}, 4, true
	case strings.HasPrefix(rest, "*S"):
		return timePiece{f: seconds(-1)}, 4, true
	case strings.HasPrefix(rest, "*f"):
		return timePiece{f: trimmed}, 4, true
	}
	n := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
	if n == 0 || n == len(rest) || rest[n] != 'S' && rest[n] != 'f' {
		return timePiece{}, 0, false
	}
	digits, err := strconv.Atoi(rest[:n])
	if err != nil || digits > 1024 {
		return timePiece{}, 0, false
	}
	if rest[n] == 'S' {
		return timePiece{f: seconds(digits)}, 3 + n, true
	}
	return timePiece{f: fraction(digits)}, 3 + n, true
}

// fraction appends that many digits of the second's fraction.
func fraction(digits int) func(time.Time, []byte) []byte {
	return func(at time.Time, out []byte) []byte {
		v := padded(nil, at.Nanosecond(), 9, '0')
		for range digits - 9 {
			v = append(v, '0')
		}
		return append(out, v[:digits]...)
	}
}

// trimmed appends the second's fraction without zeros at its end, but one digit at least.
func trimmed(at time.Time, out []byte) []byte {
	n := len(out)
	out = fraction(9)(at, out)
	for len(out) > n+1 && out[len(out)-1] == '0' {
		out = out[:len(out)-1]
	}
	return out
}

// seconds appends the second with that many digits of its fraction; -1: as many as are not zero.
func seconds(digits int) func(time.Time, []byte) []byte {
	return func(at time.Time, out []byte) []byte {
		out = padded(out, at.Second(), 2, '0')
		switch {
		case digits > 0:
			return fraction(digits)(at, append(out, '.'))
		case digits < 0 && at.Nanosecond() > 0:
			return trimmed(at, append(out, '.'))
		}
		return out
	}
}

// offset appends the zone's offset: +00:00, with seconds for 2.
func offset(colons int) func(time.Time, []byte) []byte {
	if colons == 2 {
		return layout("-07:00:00")
	}
	return layout("-07:00")
}

func layout(l string) func(time.Time, []byte) []byte {
	return func(at time.Time, out []byte) []byte { return at.AppendFormat(out, l) }
}
