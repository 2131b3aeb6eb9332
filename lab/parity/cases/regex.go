package cases

import (
	"regexp"
	"regexp/syntax"
	"strings"
)

// example returns a short text that a regular expression matches as a whole, as Envoy's RE2 does;
// false when the expression is no RE2 or matches no text that a request can carry.
func example(expr string) (string, bool) {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return "", false
	}
	var b strings.Builder
	if !write(&b, re.Simplify(), 0) {
		return "", false
	}
	whole, err := regexp.Compile("^(?:" + expr + ")$")
	if err != nil || !whole.MatchString(b.String()) {
		return "", false // a look-around such as \b that the walk does not keep
	}
	return b.String(), true
}

// maxDepth bounds the walk of nested expressions, and maxRepeat of counted ones.
const (
	maxDepth  = 200
	maxRepeat = 100
)

// write appends the shortest text of an expression that the walk finds; of what may be left out one
// copy is kept, so that near misses have something to lose.
func write(b *strings.Builder, re *syntax.Regexp, depth int) bool {
	if depth > maxDepth || b.Len() > 1<<12 {
		return false
	}
	switch re.Op {
	case syntax.OpNoMatch:
		return false
	case syntax.OpLiteral:
		b.WriteString(string(re.Rune))
	case syntax.OpCharClass:
		return writeClass(b, re.Rune)
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		b.WriteByte('x')
	case syntax.OpCapture, syntax.OpStar, syntax.OpPlus, syntax.OpQuest:
		return write(b, re.Sub[0], depth+1)
	case syntax.OpRepeat:
		for range min(max(re.Min, 1), maxRepeat) {
			if !write(b, re.Sub[0], depth+1) {
				return false
			}
		}
	case syntax.OpConcat:
		for _, s := range re.Sub {
			if !write(b, s, depth+1) {
				return false
			}
		}
	case syntax.OpAlternate:
		return write(b, re.Sub[0], depth+1)
	}
	return true
}

// liked are the characters that are taken from a class if it has one of them.
const liked = "a1xA0-_./ "

func writeClass(b *strings.Builder, ranges []rune) bool {
	in := func(r rune) bool {
		for i := 0; i+1 < len(ranges); i += 2 {
			if ranges[i] <= r && r <= ranges[i+1] {
				return true
			}
		}
		return false
	}
	for _, r := range liked {
		if in(r) {
			b.WriteRune(r)
			return true
		}
	}
	for r := '!'; r <= '~'; r++ {
		if in(r) {
			b.WriteRune(r)
			return true
		}
	}
	return false
}
