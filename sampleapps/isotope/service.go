package isotope

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// service is what the variable ISOTOPE_SERVICE holds: one service of a graph, with its defaults
// filled in.
type service struct {
	Name         string  `json:"name"`
	ErrorRate    float64 `json:"errorRate"`    // from 0 to 1
	ResponseSize int64   `json:"responseSize"` // bytes
	Script       []step  `json:"script"`
}

// step is one of the three.
type step struct {
	Sleep      time.Duration
	Call       *call
	Concurrent []step
}

// call is a request to another service.
type call struct {
	Service     string            `json:"service"`
	Hostname    string            `json:"hostname"` // "b:8080"
	Size        int64             `json:"size"`     // bytes of the body
	Probability int               `json:"probability"`
	ExtraHeader map[string]string `json:"extra-header"`
}

// UnmarshalJSON reads {"sleep": "10ms"}, {"call": {...}} or a list of them.
func (s *step) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(data, []byte("[")) {
		s.Concurrent = []step{}
		return strictly(data, &s.Concurrent)
	}
	var one struct {
		Sleep *string `json:"sleep"`
		Call  *call   `json:"call"`
	}
	if err := strictly(data, &one); err != nil {
		return err
	}
	switch {
	case (one.Sleep == nil) == (one.Call == nil):
		return errors.New("a step has either sleep or call")
	case one.Call != nil:
		s.Call = one.Call
		return nil
	}
	var err error
	s.Sleep, err = time.ParseDuration(*one.Sleep)
	return err
}

func strictly(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// read reads the variable ISOTOPE_SERVICE.
func read(text string) (*service, error) {
	if text == "" {
		return nil, errors.New(
			"env ISOTOPE_SERVICE is not set: it is the service as JSON, such as " +
				`{"name": "a", "script": [{"call": {"service": "b", "hostname": "b:8080"}}]}; ` +
				"a file with a MockServiceGraph sets it")
	}
	s := &service{}
	err := strictly([]byte(text), s)
	switch {
	case err != nil:
	case s.Name == "":
		err = errors.New("name is required")
	case s.ErrorRate < 0 || s.ErrorRate > 1:
		err = fmt.Errorf("errorRate %v: want a number from 0 to 1", s.ErrorRate)
	case s.ErrorRate > 0 && s.ErrorRate*10000 < 1:
		err = fmt.Errorf("errorRate %v: want 0, or at least 0.0001", s.ErrorRate)
	case s.ResponseSize < 0:
		err = fmt.Errorf("responseSize %d: want a whole number of bytes", s.ResponseSize)
	default:
		err = check(s.Script)
	}
	if err != nil {
		return nil, fmt.Errorf("env ISOTOPE_SERVICE: %w", err)
	}
	return s, nil
}

func check(script []step) error {
	for _, st := range script {
		if c := st.Call; c != nil {
			switch {
			case c.Hostname == "":
				return fmt.Errorf("call of %q: hostname is required", c.Service)
			case c.Size < 0:
				return fmt.Errorf("call of %q: size %d: want a whole number of bytes",
					c.Service, c.Size)
			case c.Probability < 0 || c.Probability > 100:
				return fmt.Errorf("call of %q: probability %d: want a number from 0 to 100",
					c.Service, c.Probability)
			}
		}
		if err := check(st.Concurrent); err != nil {
			return err
		}
	}
	return nil
}
