package assert

import "reflect"

// Names returns the workloads, services and pods that an expectation speaks of: whoever judges it
// can see whether they are there. A count of what nobody could have sent is no proof of anything.
func Names(e Expectation) []string {
	var out []string
	collect(reflect.ValueOf(e).Elem(), &out)
	return out
}

// naming are the fields that hold such names.
var naming = []string{"From", "At", "To", "Service"}

func collect(v reflect.Value, out *[]string) {
	for _, name := range naming {
		if f := v.FieldByName(name); f.IsValid() && f.Kind() == reflect.String && f.String() != "" {
			*out = append(*out, f.String())
		}
	}
	for i := range v.NumField() {
		// The names of an embedded Where have been found as the expectation's own.
		if f := v.Type().Field(i); f.Type == reflect.TypeFor[Where]() && !f.Anonymous {
			collect(v.Field(i), out)
		}
	}
}
