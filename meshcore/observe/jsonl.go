package observe

import (
	"encoding/json"
	"fmt"
	"io"
)

// line is one line of a History file: exactly one field is set.
type line struct {
	Request *Request `json:"request,omitempty"`
	Client  *Client  `json:"client,omitempty"`
	Push    *Push    `json:"push,omitempty"`
	Fault   *Fault   `json:"fault,omitempty"`
	Change  *Change  `json:"change,omitempty"`
}

// Encode writes a History as JSON lines: {"request": {...}}, {"client": {...}} and so on, each
// sort in its own order.
func (h *History) Encode(e *json.Encoder) error {
	for i := range h.Changes {
		if err := e.Encode(line{Change: &h.Changes[i]}); err != nil {
			return err
		}
	}
	for i := range h.Faults {
		if err := e.Encode(line{Fault: &h.Faults[i]}); err != nil {
			return err
		}
	}
	for i := range h.Pushes {
		if err := e.Encode(line{Push: &h.Pushes[i]}); err != nil {
			return err
		}
	}
	for i := range h.Requests {
		if err := e.Encode(line{Request: &h.Requests[i]}); err != nil {
			return err
		}
	}
	for i := range h.Clients {
		if err := e.Encode(line{Client: &h.Clients[i]}); err != nil {
			return err
		}
	}
	return nil
}

// Decode appends what Encode wrote, to the end of the input.
func (h *History) Decode(d *json.Decoder) error {
	for n := 1; ; n++ {
		var l line
		err := d.Decode(&l)
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("record %d: %w", n, err)
		case l.Request != nil:
			h.Requests = append(h.Requests, *l.Request)
		case l.Client != nil:
			h.Clients = append(h.Clients, *l.Client)
		case l.Push != nil:
			h.Pushes = append(h.Pushes, *l.Push)
		case l.Fault != nil:
			h.Faults = append(h.Faults, *l.Fault)
		case l.Change != nil:
			h.Changes = append(h.Changes, *l.Change)
		default:
			return fmt.Errorf("record %d: is none of request, client, push, fault, change", n)
		}
	}
}
