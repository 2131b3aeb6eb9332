package formatter

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// choice is one operator of COALESCE: a name, or an object.
type choice struct {
	Command   *string `json:"command"`
	Param     string  `json:"param"`
	MaxLength *int    `json:"max_length"`
}

// coalesce is %COALESCE({"operators": [...]}):Z%: the first of several operators that has a value
// (source/common/formatter/coalesce_formatter.cc). An empty string is a value (measured).
func coalesce[T any](c Command, find Lookup[T]) (Eval[T], error) {
	if err := (Requires | Length).Check(c); err != nil {
		return nil, err
	}
	var config struct {
		Operators []json.RawMessage `json:"operators"`
	}
	if !json.Valid([]byte(c.Arg)) {
		return nil, fmt.Errorf("COALESCE: failed to parse JSON configuration: " +
			"JSON supplied is not valid")
	}
	if json.Unmarshal([]byte(c.Arg), &config) != nil || config.Operators == nil {
		return nil, fmt.Errorf("COALESCE: JSON configuration must contain 'operators' array")
	}
	if len(config.Operators) == 0 {
		return nil, fmt.Errorf("COALESCE: 'operators' array must not be empty")
	}
	var list []Eval[T]
	for i, raw := range config.Operators {
		inner, err := chosen(raw)
		if err == nil {
			var eval Eval[T]
			if eval, err = resolve(inner, find); err == nil {
				list = append(list, eval)
				continue
			}
		}
		return nil, fmt.Errorf("COALESCE: failed to parse operator at index %d: %w", i, err)
	}
	return func(x T, out []byte) ([]byte, Kind) {
		n := len(out)
		for _, eval := range list {
			var kind Kind
			if out, kind = eval(x, out); kind != None {
				if kind == Text {
					out = Truncate(out, n, c.Max)
				}
				return out, kind
			}
			out = out[:n]
		}
		return out, None
	}, nil
}

// chosen reads one operator of COALESCE.
func chosen(raw json.RawMessage) (Command, error) {
	out := Command{Max: -1}
	if json.Unmarshal(raw, &out.Name) == nil {
		return out, nil
	}
	var c choice
	if !bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) || json.Unmarshal(raw, &c) != nil {
		return out, fmt.Errorf("operator entry must be either a string (command name) " +
			"or an object with 'command' field")
	}
	if c.Command == nil {
		return out, fmt.Errorf("operator object must have 'command' field")
	}
	out.Name, out.Arg = *c.Command, c.Param
	if c.MaxLength != nil {
		if out.Max = *c.MaxLength; out.Max <= 0 {
			return out, fmt.Errorf("'max_length' must be a positive integer")
		}
	}
	return out, nil
}
