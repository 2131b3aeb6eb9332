package istio

import (
	"strings"

	"gopkg.in/yaml.v3"
)

// oldKinds are the kinds that Istio 1.6 removed and that tutorials still show, by API group. Each
// says what means the same today, from what the object says.
var oldKinds = map[string]map[string]func(*yaml.Node) string{
	"rbac.istio.io": {
		"ServiceRole":        newPolicyOfRole,
		"ServiceRoleBinding": newPolicyOfBinding,
		"RbacConfig":         newPolicyOfConfig,
		"ClusterRbacConfig":  newPolicyOfConfig,
	},
	"authentication.istio.io": {
		"Policy":     newAuthentication,
		"MeshPolicy": newMeshAuthentication,
	},
}

// oldKind tells of a removed kind, or returns "".
func (c *checker) oldKind(group string) string {
	modern := oldKinds[group][c.object.Kind]
	if modern == nil || c.object.root == nil {
		return ""
	}
	return modern(c.object.root)
}

// flow writes a list of scalars as YAML; "" for none.
func flow(name string, values []string) string {
	if len(values) == 0 {
		return ""
	}
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = clip(v)
		if strings.ContainsAny(v, "*{}[],:#&!|>%@` ") {
			quoted[i] = `"` + quoted[i] + `"`
		}
	}
	return name + ": [" + strings.Join(quoted, ", ") + "]"
}

// mapping joins fields that are not empty.
func mapping(fields ...string) string {
	var given []string
	for _, f := range fields {
		if f != "" {
			given = append(given, f)
		}
	}
	return "{" + strings.Join(given, ", ") + "}"
}

// scalars returns the scalars of a list below a node.
func scalars(n *yaml.Node, path ...string) []string {
	for _, step := range path {
		if _, n = child(deref(n), step); n == nil {
			return nil
		}
	}
	var out []string
	for _, item := range deref(n).Content {
		if item = deref(item); item.Kind == yaml.ScalarNode {
			out = append(out, item.Value)
		}
	}
	return out
}

// items returns the mappings of a list below a node.
func items(n *yaml.Node, path ...string) []*yaml.Node {
	for _, step := range path {
		if _, n = child(deref(n), step); n == nil {
			return nil
		}
	}
	var out []*yaml.Node
	for _, item := range deref(n).Content {
		if item = deref(item); item.Kind == yaml.MappingNode {
			out = append(out, item)
		}
	}
	return out
}

const authorizationText = "apiVersion: security.istio.io/v1, kind: AuthorizationPolicy"

// newPolicyOfRole: what may be done is rules[].to; which Service's pods it is done to is the
// selector.
func newPolicyOfRole(root *yaml.Node) string {
	var to []string
	services := "the spec.rules[].services' pods"
	for _, rule := range items(root, "spec", "rules") {
		if names := scalars(rule, "services"); len(names) > 0 {
			services = "the pods of " + strings.Join(names, ", ")
		}
		operation := mapping(flow("hosts", scalars(rule, "hosts")),
			flow("methods", without(scalars(rule, "methods"), "*")),
			flow("paths", scalars(rule, "paths")), flow("ports", scalars(rule, "ports")))
		if operation != "{}" {
			to = append(to, "{operation: "+operation+"}")
		}
	}
	rule := "from: [{source: {principals: [what the ServiceRoleBinding's subjects name]}}]"
	if len(to) > 0 {
		rule += ", to: [" + strings.Join(to, ", ") + "]"
	}
	return "write one AuthorizationPolicy for it and its ServiceRoleBinding: " + authorizationText +
		", spec: {selector: {matchLabels: {the labels of " + services +
		"}}, action: ALLOW, rules: [{" + rule + "}]}; constraints become when: [{key, values}]"
}

func without(values []string, value string) []string {
	var out []string
	for _, v := range values {
		if v != value {
			out = append(out, v)
		}
	}
	return out
}

// newPolicyOfBinding: who may do it is rules[].from.
func newPolicyOfBinding(root *yaml.Node) string {
	var from []string
	for _, s := range items(root, "spec", "subjects") {
		if user := peek(s, "user"); user == "*" {
			from = nil // anybody, with or without an identity
			break
		} else if user != "" {
			from = append(from, "{source: {"+flow("principals", []string{user})+"}}")
		}
		if ns := peek(s, "properties", "source.namespace"); ns != "" {
			from = append(from, "{source: {"+flow("namespaces", []string{ns})+"}}")
		}
		if p := peek(s, "properties", "source.principal"); p != "" {
			from = append(from, "{source: {"+flow("principals", []string{p})+"}}")
		}
		if p := peek(s, "properties", "request.auth.principal"); p != "" {
			from = append(from, "{source: {"+flow("requestPrincipals", []string{p})+"}}")
		}
	}
	role := peek(root, "spec", "roleRef", "name")
	if role == "" {
		role = peek(root, "spec", "role")
	}
	who := "without from, for anybody may"
	if len(from) > 0 {
		who = "from: [" + strings.Join(from, ", ") + "]"
	}
	return "write one AuthorizationPolicy for it and its ServiceRole " + role + ": " +
		authorizationText + ", spec: {action: ALLOW, rules: [{" + who +
		", to: [what the ServiceRole's rules name]}]}"
}

// newPolicyOfConfig: a policy without rules allows nothing but what others allow.
func newPolicyOfConfig(root *yaml.Node) string {
	const nothing = authorizationText + ", spec: {}"
	switch mode := peek(root, "spec", "mode"); mode {
	case "OFF":
		return "remove it: without an AuthorizationPolicy everything is allowed"
	case "ON_WITH_INCLUSION":
		return "write an AuthorizationPolicy that allows nothing into " +
			namespaces(root, "inclusion") + ": " + nothing
	case "ON_WITH_EXCLUSION":
		return "write an AuthorizationPolicy that allows nothing into each namespace but " +
			namespaces(root, "exclusion") + ": " + nothing
	default:
		return "write an AuthorizationPolicy that allows nothing into the root namespace: " +
			nothing + " with metadata: {namespace: istio-system}"
	}
}

func namespaces(root *yaml.Node, field string) string {
	if names := scalars(root, "spec", field, "namespaces"); len(names) > 0 {
		return "namespace " + strings.Join(names, ", ")
	}
	return "the namespaces of spec." + field
}

func newMeshAuthentication(root *yaml.Node) string {
	return newAuthentication(root) + "; metadata: {namespace: istio-system} makes it the mesh's"
}

// newAuthentication: peers become a PeerAuthentication, origins a RequestAuthentication, which
// alone asks for no token.
func newAuthentication(root *yaml.Node) string {
	var out []string
	selector := ""
	if len(items(root, "spec", "targets")) > 0 {
		selector = "selector: {matchLabels: {the labels of the targets' pods}}"
	}
	mode := "UNSET"
	for _, p := range items(root, "spec", "peers") {
		if key, mtls := child(p, "mtls"); key != nil {
			if mode = peek(mtls, "mode"); mode == "" {
				mode = "STRICT"
			}
		}
	}
	if mode != "UNSET" {
		out = append(out, "apiVersion: security.istio.io/v1, kind: PeerAuthentication, spec: "+
			mapping(selector, "mtls: {mode: "+mode+"}"))
	}
	var rules []string
	for _, o := range items(root, "spec", "origins") {
		rule := mapping(entryOf(o, "issuer"), flow("audiences", scalars(o, "jwt", "audiences")),
			entryOf(o, "jwksUri"), entryOf(o, "jwks"))
		rules = append(rules, rule)
	}
	if len(rules) > 0 {
		out = append(out,
			"apiVersion: security.istio.io/v1, kind: RequestAuthentication, spec: "+
				mapping(selector, "jwtRules: ["+strings.Join(rules, ", ")+"]"),
			"for requests that must have a token, "+authorizationText+", spec: "+mapping(selector,
				`action: ALLOW, rules: [{from: [{source: {requestPrincipals: ["*"]}}]}]`))
	}
	if len(out) == 0 {
		return "write a PeerAuthentication: apiVersion: security.istio.io/v1, " +
			"kind: PeerAuthentication, spec: " + mapping(selector, "mtls: {mode: DISABLE}")
	}
	return "write " + strings.Join(out, "; and ")
}

// entryOf copies a field of an origin's jwt.
func entryOf(origin *yaml.Node, name string) string {
	if v := peek(origin, "jwt", name); v != "" {
		return name + `: "` + clip(v) + `"`
	}
	return ""
}
