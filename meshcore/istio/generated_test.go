package istio

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/mesh-lab/mesh-lab/meshcore/istio/generate"
)

// ungenerated are fields that are carried out and that the generator never sets, with the reason.
var ungenerated = map[string]string{
	"core/v1.ServiceSpec.ipFamilies":                     "golden cases have each; the lab's addresses are IPv4",
	"istio.networking.v1alpha3.Port.targetPort":          "refused wherever it is written",
	"core/v1.Namespace.spec":                             "nothing in it has an effect",
	"core/v1.PodSpec.volumes":                            certificates,
	"core/v1.Container.volumeMounts":                     certificates,
	"istio.mesh.v1alpha1.MeshConfig.meshMTLS":            handshakes,
	"istio.mesh.v1alpha1.MeshConfig.tlsDefaults":         handshakes,
	"istio.mesh.v1alpha1.MeshConfig.trustDomainAliases":  handshakes,
	"istio.type.v1beta1.PolicyTargetReference.namespace": "refused wherever it is written",

	tlsServer + "serverCertificate":     certificates,
	tlsServer + "privateKey":            certificates,
	tlsServer + "caCertificates":        certificates,
	tlsServer + "tlsCertificates":       certificates,
	tlsFiles + "serverCertificate":      certificates,
	tlsFiles + "privateKey":             certificates,
	tlsServer + "credentialName":        certificates,
	tlsServer + "credentialNames":       certificates,
	tlsServer + "caCertCredentialName":  certificates,
	tlsServer + "subjectAltNames":       certificates,
	tlsServer + "verifyCertificateSpki": certificates,
	tlsServer + "verifyCertificateHash": certificates,
	tlsServer + "minProtocolVersion":    certificates,
	tlsServer + "maxProtocolVersion":    certificates,
	tlsServer + "cipherSuites":          certificates,
	tlsServer + "insecureSkipVerify":    certificates,
}

// ungeneratedTypes are types of which the generator makes none, with the reason.
var ungeneratedTypes = map[string]string{
	"istio.networking.v1alpha3.ClientTLSSettings": certificates,
	"core/v1.Volume":                                      certificates,
	"core/v1.VolumeMount":                                 certificates,
	"core/v1.VolumeProjection":                            certificates,
	"core/v1.SecretVolumeSource":                          certificates,
	"core/v1.ConfigMapVolumeSource":                       certificates,
	"core/v1.ProjectedVolumeSource":                       certificates,
	"core/v1.SecretProjection":                            certificates,
	"core/v1.ConfigMapProjection":                         certificates,
	"core/v1.KeyToPath":                                   certificates,
	"istio.mesh.v1alpha1.MeshConfig.TLSConfig":            handshakes,
	"istio.security.v1beta1.PeerAuthentication":           handshakes,
	"istio.security.v1beta1.PeerAuthentication.MutualTLS": handshakes,
	"istio.networking.v1alpha3.ServiceEntry":              outside,
	"istio.networking.v1alpha3.ServicePort":               outside,
	"istio.networking.v1alpha3.WorkloadEntry":             outside,
	"istio.networking.v1alpha3.WorkloadSelector":          outside,
}

const (
	tlsServer    = "istio.networking.v1alpha3.ServerTLSSettings."
	tlsFiles     = tlsServer + "TLSCertificate."
	certificates = "a configuration of random certificates would not be the same for each seed"
	handshakes   = "golden and recorded cases have each mode; drawn meshes have mutual TLS as it comes"
	outside      = "golden and recorded cases have each resolution"
)

// TestGenerated counts which of the fields that are carried out the generator ever sets: each, but
// for those that the list above excuses.
func TestGenerated(t *testing.T) {
	set := map[string]bool{}
	for seed := range uint64(600) {
		for _, c := range []generate.Config{generate.Mesh(seed, 4), generate.Rules(seed, 4)} {
			config, problems := Read([]File{{Name: "generated.yaml", Data: c.YAML()}}, ReadOptions{})
			if HasErrors(problems) {
				t.Fatalf("seed %d: %s", seed, text(problems))
			}
			setMessage(config.Mesh.ProtoReflect(), set)
			for _, o := range config.Objects {
				if m, ok := o.Body.(proto.Message); ok && !isKubernetes(o.Body) {
					setMessage(m.ProtoReflect(), set)
				} else {
					setValue(reflect.ValueOf(o.Body), goTypes{}, set)
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		for _, field := range slices.Sorted(maps.Keys(fields[name])) {
			full := name + "." + field
			why := cmp.Or(ungenerated[full], ungeneratedTypes[name])
			switch {
			case fields[name][field].verdict != carriedOut:
			case !set[full] && why == "":
				t.Errorf("%s is never generated", full)
			case set[full] && ungenerated[full] != "":
				t.Errorf("%s is generated; its excuse is: %s", full, why)
			}
		}
	}
	for full := range ungenerated {
		if i := strings.LastIndexByte(full, '.'); fields[full[:i]] == nil {
			t.Errorf("the list excuses %s, which the tables do not have", full)
		}
	}
}

// setMessage notes the fields of a message that are set.
func setMessage(m protoreflect.Message, set map[string]bool) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		set[string(m.Descriptor().FullName())+"."+fd.JSONName()] = true
		switch {
		case fd.IsMap() && fd.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				setMessage(v.Message(), set)
				return true
			})
		case fd.IsList() && fd.Message() != nil:
			for i := range v.List().Len() {
				setMessage(v.List().Get(i).Message(), set)
			}
		case !fd.IsMap() && !fd.IsList() && fd.Message() != nil:
			setMessage(v.Message(), set)
		}
		return true
	})
}

// setValue does the same for a Kubernetes object.
func setValue(v reflect.Value, g goTypes, set map[string]bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			setValue(v.Elem(), g, set)
		}
	case reflect.Slice:
		for i := range v.Len() {
			setValue(v.Index(i), g, set)
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			setValue(v.MapIndex(k), g, set)
		}
	case reflect.Struct:
		if reflect.PointerTo(v.Type()).Implements(jsonUnmarshaler) {
			return
		}
		s := g.fields(v.Type())
		for field, at := range s.index {
			if f := v.FieldByIndex(at); !f.IsZero() {
				set[goTypeName(v.Type())+"."+field] = true
				setValue(f, g, set)
			}
		}
	}
}
