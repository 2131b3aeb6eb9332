package engine

import (
	"github.com/mesh-lab/mesh-lab/meshcore/engine/formatter"
)

// format is a header value with Envoy's command operators; without a value an operator gives
// nothing (header_formatter.cc, router/header_parser.cc).
type format struct {
	static []byte // the whole value, when there is no operator
	text   *formatter.Template[*Exchange]
}

func (c *compiler) format(field, s string) format {
	t, err := formatter.Parse(s, true, findOperator(false, false))
	if err != nil {
		c.fail(field, "%v", err)
		return format{}
	}
	if text, ok := t.Static(); ok {
		return format{static: []byte(text)}
	}
	return format{text: t}
}

// eval returns the value; it is valid until the next use of the exchange's buffer.
func (f *format) eval(x *Exchange) []byte {
	if f.text == nil {
		return f.static
	}
	x.buf = f.text.Append(x, x.buf[:0])
	return x.buf
}
