package lab_test

import (
	"bytes"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/lab"
)

// samples is manifests with the shape of those that people find in public, in testdata/samples.
const samples = "testdata/samples/"

// TestSamples brings samples up as they are, and asks what they serve.
func TestSamples(t *testing.T) {
	t.Parallel()
	bookinfo := []string{
		"bookinfo/kube", "bookinfo/networking/bookinfo-gateway.yaml",
		"bookinfo/networking/destination-rule-all.yaml",
		"bookinfo/networking/virtual-service-reviews-v3.yaml",
	}
	tutorial := []string{
		"tutorial/kubernetes", "tutorial/istiofiles/destination-rule-v1-v2.yml",
		"tutorial/istiofiles/virtual-service-v1-and-v2.yml",
		"tutorial/istiofiles/service-entry.yml",
	}
	for name, test := range map[string]struct {
		files     []string
		from, url string
		want      []string
		flags     []string
	}{
		"bookinfo": {bookinfo, "outside", "http://bookinfo.example:8080/productpage", []string{
			"HTTP 200", "<title>Simple Bookstore App</title>", "text-red-500",
		}, nil},
		"bookinfo in the mesh": {bookinfo, "ratings-v1", "http://productpage:9080/productpage",
			[]string{"HTTP 200", "<title>Simple Bookstore App</title>"}, nil},
		"httpbin": {[]string{"httpbin"}, "outside", "http://httpbin.example/status/418",
			[]string{"HTTP 418", "I'm a teapot!"}, nil},
		"httpbin and fortio": {[]string{"httpbin"}, "fortio-deploy", "http://httpbin:8000/get",
			[]string{"HTTP 200", "from httpbin-0 (v1)"}, nil},
		"helloworld": {[]string{"helloworld"}, "outside", "http://hello.example/hello",
			[]string{"HTTP 200", "Hello version: v"}, nil},
		"tutorial": {tutorial, "outside", "http://customer.example/customer", []string{
			"HTTP 200", "customer => preference => recommendation v",
		}, nil},
		// kubectl puts the tutorial into a namespace, -n tutorial; some of its rules name it.
		"tutorial in its namespace": {
			append(tutorial, "tutorial/istiofiles/authorization-policy-deny-all.yaml"),
			"outside", "http://customer.example/customer",
			[]string{"HTTP 403", "RBAC: access denied", "customer.tutorial.svc.cluster.local"},
			[]string{"--namespace", "tutorial"},
		},
		// Its Deployment has no selector: Kubernetes gave it one in those days.
		"tutorial of an old API": {tutorial[:1], "recommendation-v2", "http://customer:8080/",
			[]string{"HTTP 200", "source      recommendation-v2-0", "customer => preference => "},
			nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"request", "--from", test.from}, test.flags...)
			for _, f := range test.files {
				args = append(args, "-f", samples+f)
			}
			said := runs(t, append(args, test.url)...)
			for _, want := range test.want {
				if !strings.Contains(said, want) {
					t.Errorf("no %q in:\n%s", want, said)
				}
			}
		})
	}
}

// TestSamplesValid: every file of the samples is valid by itself.
func TestSamplesValid(t *testing.T) {
	t.Parallel()
	err := filepath.WalkDir(samples, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if said := runs(t, "validate", path); strings.Contains(said, "is not bundled") {
			t.Errorf("an image is not known:\n%s", said)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"helloworld/autoscaling.yaml": "2:1: HorizontalPodAutoscaler default/helloworld-v1: " +
			"HorizontalPodAutoscaler is left out: the lab does not scale by itself (warning)",
		"tutorial/kubernetes/recommendation-v2.yml": "2:13: Deployment recommendation-v2 " +
			"apiVersion: Kubernetes 1.16 removed extensions/v1beta1; it is read as apps/v1 (warning)",
		"bookinfo/networking/fault-injection-details-v1.yaml": "18:5: VirtualService " +
			"default/details spec.http[1]: is never used",
		"tutorial/istiofiles/destination-rule-breaker.yml": "outlierDetection." +
			"consecutiveErrors: is obsolete",
	} {
		if said := runs(t, "validate", samples+file); !strings.Contains(said, want) {
			t.Errorf("%s: no %q in:\n%s", file, want, said)
		}
	}
}

// runs runs a command in this process, which must succeed, and returns what it says.
func runs(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	if code := lab.Main(args, strings.NewReader(""), &out, &out); code != 0 {
		t.Errorf("%s: exit status %d\n%s", strings.Join(args, " "), code, &out)
	}
	return out.String()
}
