package sampleapps

import (
	"embed"
	"path"
	"slices"
)

// Set is what --app brings up: apps with their Services, and the ways to them. Its manifests are in
// the folder of its name.
type Set struct {
	Name    string
	Teaches string
	Apps    []string // its apps, beside clients that other sets have, too
	Open    string   // path behind the ingress gateway that a browser opens first; may be empty
	From    string   // the workload that sends Try
	Try     string   // URL of a first request inside the mesh, which answers 200
}

// sets is the table of all sets.
var sets = []Set{
	{
		Name: "bookinfo",
		Teaches: "routing by user, weights, faults and the time-outs that they bring to light, " +
			"on a page of four services",
		Apps: []string{"details", "productpage", "ratings", "reviews"},
		Open: "/productpage",
		From: "curl", Try: "http://productpage:9080/productpage",
	},
	{
		Name:    "customer",
		Teaches: "routing, canaries, mirrors, retries and ejection on a chain of three services",
		Apps:    []string{"customer", "preference", "recommendation"},
		Open:    "/customer",
		From:    "curl", Try: "http://customer:8080/",
	},
	{
		Name:    "echo",
		Teaches: "what a request looks like when it arrives, and what clients see of a bad server",
		Apps:    []string{"curl", "echo"},
		From:    "curl", Try: "http://echo:8080/",
	},
	{
		Name: "ext-authz",
		Teaches: "an authorizer of one's own beside the mesh's policies: a POST to echo wants " +
			"the header x-ext-authz: allow",
		Apps: []string{"ext-authz"},
		From: "curl", Try: "http://echo:8080/",
	},
	{
		Name:    "helloworld",
		Teaches: "two versions behind a gateway: weights, localities, one path let in",
		Apps:    []string{"helloworld"},
		Open:    "/hello",
		From:    "curl", Try: "http://helloworld:5000/hello",
	},
	{
		Name: "httpbin",
		Teaches: "mirrors, circuit breakers under fortio's load, time-outs, and gateways with " +
			"several hosts, on a server that does as the path says",
		Apps: []string{"fortio", "httpbin"},
		Open: "/",
		From: "curl", Try: "http://httpbin:8000/headers",
	},
	{
		Name: "isotope",
		Teaches: "how load and failures spread through a graph of services, which is a file of " +
			"one's own",
		Apps: []string{"isotope"},
		From: "client", Try: "http://web:8080/",
	},
	{
		Name:    "jwt-issuer",
		Teaches: "where tokens and the keys that prove them come from",
		Apps:    []string{"jwt-issuer"},
		From:    "curl", Try: "http://jwt-issuer:8080/token",
	},
	{
		Name: "nginx",
		Teaches: "weights against sticky sessions on two pages that a browser shows; and " +
			"servicex, which a circuit breaker must take out",
		Apps: []string{"nginx", "servicex"},
		Open: "/",
		From: "fortio", Try: "http://nginx-service:8000/",
	},
}

// Sets returns all sets, by name.
func Sets() []Set { return slices.Clone(sets) }

// SetOf returns the set of a name, or the one that an app of the name belongs to.
func SetOf(name string) (Set, bool) {
	i := slices.IndexFunc(sets, func(s Set) bool { return s.Name == name })
	if i < 0 {
		i = slices.IndexFunc(sets, func(s Set) bool { return slices.Contains(s.Apps, name) })
	}
	if i < 0 {
		return Set{}, false
	}
	return sets[i], true
}

// Names returns what SetOf knows: the sets, then the apps that are named otherwise.
func Names() []string {
	var names, others []string
	for _, s := range sets {
		names = append(names, s.Name)
		for _, a := range s.Apps {
			if !slices.ContainsFunc(sets, func(s Set) bool { return s.Name == a }) {
				others = append(others, a)
			}
		}
	}
	slices.Sort(others)
	return append(names, others...)
}

// File is one file of manifests.
type File struct {
	Name string // "customer/recommendation.yaml"
	Data []byte
}

//go:embed manifests
var manifests embed.FS

// Manifests returns the Kubernetes and Istio objects that make up the set of SetOf, without a
// namespace.
func Manifests(name string) ([]File, bool) {
	s, ok := SetOf(name)
	if !ok {
		return nil, false
	}
	dir := path.Join("manifests", s.Name)
	entries, err := manifests.ReadDir(dir)
	if err != nil {
		panic("sampleapps: " + err.Error()) // it is embedded
	}
	var files []File
	for _, e := range entries {
		data, err := manifests.ReadFile(path.Join(dir, e.Name()))
		if err != nil {
			panic("sampleapps: " + err.Error())
		}
		files = append(files, File{Name: path.Join(s.Name, e.Name()), Data: data})
	}
	return files, true
}
