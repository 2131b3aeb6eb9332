package istio

import (
	"fmt"
)

// checker validates one object.
type checker struct {
	object *Object
	diags  *[]Diagnostic
}

func (c *checker) errorf(field, format string, args ...any) {
	c.errorAt(c.object.At(field), field, format, args...)
}

func (c *checker) errorAt(at Place, field, format string, args ...any) {
	*c.diags = append(*c.diags, Diagnostic{
		Place: at, Object: c.object.Ref(), Field: field, Msg: fmt.Sprintf(format, args...),
	})
}

func (c *checker) warnf(field, format string, args ...any) {
	*c.diags = append(*c.diags, Diagnostic{
		Severity: Warning, Place: c.object.At(field), Object: c.object.Ref(), Field: field,
		Msg: fmt.Sprintf(format, args...),
	})
}

// wayOut appends what to do instead.
func wayOut(s string) string {
	if s == "" {
		return ""
	}
	return "; " + s
}
