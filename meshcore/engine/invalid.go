package engine

import (
	"fmt"
	"math"
	"regexp"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
)

// validate notes the first breach of the rules in Envoy's protos (validate.rules). Envoy checks a
// resource when it decodes it, and each typed_config when it makes something of it
// (source/common/protobuf/utility.h MessageUtil::validate, anyConvertAndValidate).
func (w *walker) validate(m proto.Message) {
	v, ok := m.(interface{ Validate() error })
	if !ok {
		return
	}
	err := v.Validate()
	if err == nil {
		return
	}
	path, reason := breach(err)
	if at := w.place(); at != "" && path != "" {
		path = at + "." + path
	} else if at != "" {
		path = at
	}
	// What is packed in it is looked at later, when something is made of it.
	w.invalid = append(w.invalid, Refusal{Field: path, Reason: reason, Proto: len(w.path) == 0})
}

// breach says where a rule is broken, in the names of the protos, and which.
func breach(err error) (path, reason string) {
	var steps []string
	for {
		e, ok := err.(interface { //nolint:errorlint // generated code wraps nothing
			Field() string
			Reason() string
			Cause() error
		})
		if !ok {
			return strings.Join(steps, "."), err.Error()
		}
		steps = append(steps, protoName(e.Field()))
		if e.Cause() == nil {
			return strings.Join(steps, "."), e.Reason()
		}
		err = e.Cause()
	}
}

var capital = regexp.MustCompile(`_?([A-Z0-9]+[a-z]*)`)

// protoName turns ConnectTimeout[0] into connect_timeout[0].
func protoName(field string) string {
	name, rest, indexed := strings.Cut(field, "[")
	name = strings.TrimPrefix(strings.ToLower(capital.ReplaceAllString(name, "_$1")), "_")
	if indexed {
		return name + "[" + rest
	}
	return name
}

// duration refuses a duration that Envoy cannot read (source/common/protobuf/utility.cc
// validateDurationNoThrow). What is carried out is checked where it is compiled.
func (w *walker) duration(fd protoreflect.FieldDescriptor, v protoreflect.Value) {
	d, ok := v.Message().Interface().(*durationpb.Duration)
	if !ok || badDuration(d) == "" {
		return
	}
	w.path = append(w.path, segment{name: fd.Name(), index: -1})
	w.invalid = append(w.invalid, Refusal{Field: w.place(), Reason: badDuration(d)})
	w.path = w.path[:len(w.path)-1]
}

// badDuration says what is wrong with a duration; nothing for a good one.
func badDuration(d *durationpb.Duration) string {
	switch {
	case d.GetSeconds() < 0 || d.GetNanos() < 0:
		return fmt.Sprintf("Invalid duration: Expected positive duration: %v", d.AsDuration())
	case d.GetNanos() > 999999999 || d.GetSeconds() > math.MaxInt64/int64(time.Second)-1:
		return "Invalid duration: Duration out-of-range"
	}
	return ""
}
