package feed

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// fill gives every field that a value has another value that is not its zero.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprint("text ", *n))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n) << 20)
	case reflect.Uint64:
		v.SetUint(1<<63 + uint64(*n))
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{fmt.Sprint("key ", *n): "a", "other": "b"}))
	default:
		panic(v.Type())
	}
}

// TestWire: what is written is read again, to the last field, and in the middle of it nothing ends.
func TestWire(t *testing.T) {
	var full observe.Request
	n := 0
	fill(reflect.ValueOf(&full).Elem(), &n)
	all := []*Batch{
		{At: 1, Every: 2, Lab: &Lab{Name: "default"}, Requests: []observe.Request{full, {ID: "b"}}},
		{At: 3, Every: 1, Changes: []observe.Change{{Kind: "eject"}}, Requests: []observe.Request{}},
		{At: 4, Every: 1, Requests: []observe.Request{full, full}},
	}
	var stream bytes.Buffer
	w := NewWriter(&stream)
	var ends []int
	for _, b := range all {
		if err := w.Write(b); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, stream.Len())
	}
	text := stream.Bytes()
	r := NewReader(bytes.NewReader(text))
	for i, want := range all {
		got, err := r.Read()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("batch %d (-want +got):\n%s", i, d)
		}
	}
	if _, err := r.Read(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	for cut := range ends[0] {
		_, err := NewReader(bytes.NewReader(text[:cut])).Read()
		if cut == 0 && err != io.EOF || cut > 0 && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut after %d bytes: %v", cut, err)
		}
	}
	garbage := strings.Repeat("\xfe", 99)
	if _, err := NewReader(strings.NewReader(garbage)).Read(); !errors.Is(err, errWire) {
		t.Errorf("another's stream: %v", err)
	}
	if _, err := NewReader(strings.NewReader(mark + garbage)).Read(); err == nil {
		t.Error("anything is read as a batch")
	}
}

// TestWireForgets: more texts than are remembered are told nonetheless, and again when they come
// again.
func TestWireForgets(t *testing.T) {
	b := &Batch{}
	for i := range texts + texts/2 {
		b.Requests = append(b.Requests, observe.Request{Path: fmt.Sprint("/", i%(texts+9)),
			Method: "GET"})
	}
	var stream bytes.Buffer
	w := NewWriter(&stream)
	r := NewReader(&stream)
	for range 2 {
		if err := w.Write(b); err != nil {
			t.Fatal(err)
		}
		got, err := r.Read()
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, b) {
			t.Fatal("another batch is read")
		}
	}
	if len(w.c.known) > texts || len(r.c.told) > texts {
		t.Errorf("%d and %d texts are remembered", len(w.c.known), len(r.c.told))
	}
}
