// Package docker says whether tests may use Docker.
package docker

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
)

// T is what a test is asked for.
type T interface {
	Helper()
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
}

var info = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("docker", "info", "--format", "{{.ServerVersion}}").CombinedOutput()
	return strings.TrimSpace(string(out)), err
})

// Needed skips a test where there is no Docker; it fails where MESHLAB_REQUIRE has docker.
func Needed(t T) {
	t.Helper()
	said, err := info()
	switch {
	case err == nil:
	case slices.Contains(strings.Split(os.Getenv("MESHLAB_REQUIRE"), ","), "docker"):
		t.Fatalf("Docker is required: %v: %s", err, said)
	default:
		t.Skipf("no Docker: %v: %s", err, said)
	}
}
