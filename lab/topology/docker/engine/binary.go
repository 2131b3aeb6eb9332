package engine

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/mesh-lab/mesh-lab/meshcore/envoy"
)

// BinaryVariable names the Linux binary to put into containers, where the one that runs is none.
const BinaryVariable = "MESHLAB_LINUX_BINARY"

// Part returns what the lab's own containers are made of: the binary that runs, or on a machine
// that is not Linux a Linux build of it.
func (e *Engine) Part(ctx context.Context) (Image, error) {
	at, err := e.linuxBinary(ctx)
	if err != nil {
		return Image{}, err
	}
	files, err := program(ctx, at, "/mesh-lab")
	return Image{Kind: "part", Files: files, Entrypoint: []string{"/mesh-lab"}}, err
}

// linuxBinary finds a mesh-lab that runs in containers.
func (e *Engine) linuxBinary(ctx context.Context) (string, error) {
	if at := os.Getenv(BinaryVariable); at != "" {
		return at, nil
	}
	own, err := os.Executable()
	if err != nil {
		return "", err
	}
	if runtime.GOOS == "linux" && runtime.GOARCH == e.Arch {
		return own, nil
	}
	beside := filepath.Join(filepath.Dir(own), "mesh-lab-linux-"+e.Arch)
	if _, err := os.Stat(beside); err == nil {
		return beside, nil
	}
	return e.build(ctx, own)
}

// build makes a Linux build of the module whose folder is the working directory, or the binary's.
func (e *Engine) build(ctx context.Context, own string) (string, error) {
	want := &UnusableError{
		Why: fmt.Sprintf("containers need a linux/%s build of mesh-lab, and this is %s/%s",
			e.Arch, runtime.GOOS, runtime.GOARCH),
		Do: fmt.Sprintf("put one beside this binary as mesh-lab-linux-%s, or name one in %s "+
			"(CGO_ENABLED=0 GOOS=linux GOARCH=%s go build -o ... )",
			e.Arch, BinaryVariable, e.Arch),
	}
	tool, err := exec.LookPath("go")
	if err != nil {
		want.Err = err
		return "", want
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	out := filepath.Join(cache, "mesh-lab", "mesh-lab-linux-"+e.Arch)
	for _, dir := range []string{".", filepath.Dir(own)} {
		c := exec.CommandContext(ctx, tool, "build", "-trimpath", "-o", out,
			"github.com/mesh-lab/mesh-lab")
		c.Dir = dir
		c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+e.Arch)
		var said []byte
		if said, err = c.CombinedOutput(); err == nil {
			return out, nil
		}
		want.Err = fmt.Errorf("%s: %w: %s", c, err, strings.TrimSpace(string(said)))
	}
	return "", want
}

// Envoy returns what containers with a real Envoy are made of, or the name of an image to pull
// where this machine's own Envoy is none for containers.
func (e *Engine) Envoy(ctx context.Context) (made Image, pull string, version string, err error) {
	b, err := envoy.Locate(ctx)
	if err == nil && runtime.GOOS == "linux" && runtime.GOARCH == e.Arch {
		files, err := program(ctx, b.Path, "/envoy")
		made = Image{Kind: "envoy", Files: files, Entrypoint: []string{"/envoy"}}
		return made, "", b.Version, err
	}
	return Image{}, published, "", nil
}

// published is Envoy's own image, of the version that the resources are made for.
const published = "envoyproxy/envoy:v1.40.0"

// program lists a program with what it loads: nothing when it is static.
func program(ctx context.Context, at, as string) ([]File, error) {
	f, err := elf.Open(at)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	defer f.Close()
	files := []File{{Path: as, From: at, Mode: 0o755}}
	loader := interpreter(f)
	if loader == "" {
		return files, nil
	}
	real, err := filepath.EvalSymlinks(loader)
	if err != nil {
		return nil, fmt.Errorf("%s: its loader: %w", at, err)
	}
	files = append(files, File{Path: loader, From: real, Mode: 0o755})
	// The loader itself tells what it would load, both glibc's and musl's.
	out, err := exec.CommandContext(ctx, loader, "--list", at).Output()
	if err != nil {
		return nil, fmt.Errorf("%s --list %s: %w", loader, at, err)
	}
	seen := map[string]bool{loader: true}
	for line := range strings.Lines(string(out)) {
		lib, ok := library(line)
		if !ok || seen[lib] {
			continue
		}
		seen[lib] = true
		if real, err = filepath.EvalSymlinks(lib); err != nil {
			return nil, errors.Join(fmt.Errorf("%s loads %s", at, lib), err)
		}
		files = append(files, File{Path: lib, From: real, Mode: 0o755})
	}
	return files, nil
}

// library reads a line of a loader's list: `libm.so.6 => /lib/libm.so.6 (0x00007f...)`.
func library(line string) (path string, ok bool) {
	line = strings.TrimSpace(line)
	if _, after, found := strings.Cut(line, " => "); found {
		line = after
	}
	path, _, _ = strings.Cut(line, " (")
	return path, strings.HasPrefix(path, "/")
}

// interpreter is the loader that a program asks for; empty when it is static.
func interpreter(f *elf.File) string {
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		b := make([]byte, p.Filesz)
		if _, err := p.ReadAt(b, 0); err != nil {
			return ""
		}
		return strings.TrimRight(string(b), "\x00")
	}
	return ""
}
