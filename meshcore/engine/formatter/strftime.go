package formatter

import (
	"strconv"
	"time"
)

// strftime is what the C library's strftime gives in the C locale.
var strftime = map[byte]func(time.Time, []byte) []byte{
	'a': layout("Mon"), 'A': layout("Monday"), 'b': layout("Jan"), 'B': layout("January"),
	'h': layout("Jan"), 'c': layout("Mon Jan _2 15:04:05 2006"),
	'D': layout("01/02/06"), 'x': layout("01/02/06"), 'F': layout("2006-01-02"),
	'T': layout("15:04:05"), 'X': layout("15:04:05"), 'R': layout("15:04"),
	'r': layout("03:04:05 PM"), 'p': layout("PM"), 'P': layout("pm"),
	'd': layout("02"), 'e': layout("_2"), 'm': layout("01"), 'y': layout("06"), 'Y': layout("2006"),
	'H': layout("15"), 'I': layout("03"), 'M': layout("04"), 'S': layout("05"), 'j': layout("002"),
	'z': layout("-0700"), 'Z': layout("MST"),
	't': text("\t"), '%': text("%"),
	'C': number(2, '0', func(t time.Time) int { return t.Year() / 100 }),
	'k': number(2, ' ', time.Time.Hour),
	'l': number(2, ' ', func(t time.Time) int { return (t.Hour()+11)%12 + 1 }),
	's': number(0, '0', func(t time.Time) int { return int(t.Unix()) }),
	'u': number(0, '0', func(t time.Time) int { return (int(t.Weekday())+6)%7 + 1 }),
	'w': number(0, '0', func(t time.Time) int { return int(t.Weekday()) }),
	'U': number(2, '0', func(t time.Time) int { return (t.YearDay() + 6 - int(t.Weekday())) / 7 }),
	'W': number(2, '0', func(t time.Time) int {
		return (t.YearDay() + 6 - (int(t.Weekday())+6)%7) / 7
	}),
	'V': number(2, '0', func(t time.Time) int { _, w := t.ISOWeek(); return w }),
	'G': number(4, '0', func(t time.Time) int { y, _ := t.ISOWeek(); return y }),
	'g': number(2, '0', func(t time.Time) int { y, _ := t.ISOWeek(); return y % 100 }),
}

func text(s string) func(time.Time, []byte) []byte {
	return func(_ time.Time, out []byte) []byte { return append(out, s...) }
}

func number(width int, pad byte, of func(time.Time) int) func(time.Time, []byte) []byte {
	return func(t time.Time, out []byte) []byte { return padded(out, of(t), width, pad) }
}

// padded appends a number that is not negative.
func padded(out []byte, v, width int, pad byte) []byte {
	for n := 10; width > 1; width, n = width-1, n*10 {
		if v < n {
			for range width - 1 {
				out = append(out, pad)
			}
			break
		}
	}
	return strconv.AppendInt(out, int64(v), 10)
}
