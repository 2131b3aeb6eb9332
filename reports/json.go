package reports

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// JSON writes a Result as one indented JSON object.
func JSON(w io.Writer, r *Result) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// Fortio returns fortio's own result of each load by file name, as `fortio report` opens them.
func Fortio(r *Result) map[string][]byte {
	out := map[string][]byte{}
	for i := range r.Steps {
		s := &r.Steps[i]
		for k, data := range s.loads() {
			name := fmt.Sprintf("%s-%d-%s", slug(r.Scenario), i+1, slug(s.Name))
			if k > 0 {
				name += fmt.Sprintf("-%d", k+1)
			}
			out[name+".json"] = data
		}
	}
	return out
}

// loads returns fortio's result of each load of the step, in order.
func (s *StepResult) loads() []json.RawMessage {
	if s.Load == nil {
		return nil
	}
	return append([]json.RawMessage{s.Load}, s.MoreLoads...)
}

// slug makes a file name of a title.
func slug(s string) string {
	words := strings.FieldsFunc(strings.ToLower(s), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	return strings.Join(words, "-")
}
