package istio

import (
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
)

type fieldTable map[string]fieldRules
type fieldRules struct{}

var fields fieldTable

var required = map[protoreflect.FullName][]protoreflect.Name{}

func (d *decoder) decide(e entry, p *path, typeName, field string) bool { return true }

func shortest(fd protoreflect.FieldDescriptor) (time.Duration, bool) { return 0, false }
