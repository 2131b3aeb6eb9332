package lab

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mesh-lab/mesh-lab/lab/runner"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// maxFile bounds one configuration file; clusters refuse larger objects long before.
const maxFile = 64 << 20

// readFiles reads files, directories (their *.yaml, *.yml and *.json) and "-" for stdin.
func (e *env) readFiles(names []string) ([]istio.File, error) {
	var out []istio.File
	for _, n := range names {
		files, err := e.expand(n)
		if err != nil {
			return nil, &exitError{exitUsage, err}
		}
		for _, f := range files {
			data, err := e.readFile(f)
			if err != nil {
				return nil, &exitError{exitUsage, err}
			}
			out = append(out, istio.File{Name: f, Data: data})
		}
	}
	return out, nil
}

// expand lists the files that a name stands for, sorted.
func (e *env) expand(name string) ([]string, error) {
	if name == "-" {
		return []string{"-"}, nil
	}
	i, err := os.Stat(name)
	if err != nil {
		return nil, clean(err)
	}
	if !i.IsDir() {
		return []string{name}, nil
	}
	var out []string
	err = filepath.WalkDir(name, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && isConfig(path) {
			out = append(out, path)
		}
		return err
	})
	if err == nil && len(out) == 0 {
		err = fmt.Errorf("%s: no *.yaml, *.yml or *.json in it", name)
	}
	slices.Sort(out)
	return out, err
}

func isConfig(path string) bool {
	return slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path))
}

func (e *env) readFile(name string) ([]byte, error) {
	var r io.Reader = e.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, clean(err)
		}
		defer f.Close()
		r = f
	}
	b, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, clean(err)
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("%s: larger than %d MiB", name, maxFile>>20)
	}
	return b, nil
}

// clean drops the system call's name from a file error: "x.yaml: no such file or directory".
func clean(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return fmt.Errorf("%s: %w", pe.Path, pe.Err)
	}
	return err
}

// source is where a command's configuration comes from: files, or a bundled app, or both.
type source struct {
	files      []string
	app        string
	namespace  string // of objects that name none
	meshConfig string
	unknown    string
	exact      bool
}

// config reads it; warnings are printed, errors are returned all together.
func (e *env) config(s source) (*istio.Config, error) {
	var in []istio.File
	if s.app != "" {
		manifests, err := runner.Bundled(s.app)
		if err != nil {
			return nil, usage("--app: %w", err)
		}
		in = manifests
	}
	files, err := e.readFiles(s.files)
	if err != nil {
		return nil, err
	}
	o := istio.ReadOptions{Namespace: s.namespace}
	if s.meshConfig != "" {
		data, err := e.readFile(s.meshConfig)
		if err != nil {
			return nil, &exitError{exitUsage, err}
		}
		o.MeshConfig = &istio.File{Name: s.meshConfig, Data: data}
	}
	if s.app == "" {
		c, diags := istio.Read(files, o)
		return c, e.diagnose(diags)
	}
	base, diags := istio.Read(in, o)
	if err := e.diagnose(diags); err != nil {
		return nil, err
	}
	// What the files say of an object of the app's takes its place, as if it were applied.
	o.Base = base
	c, diags := istio.Read(files, o)
	return istio.Merge(base, c), e.diagnose(diags)
}

// diagnose prints warnings and returns errors as one.
func (e *env) diagnose(diags []istio.Diagnostic) error {
	var errs []string
	for _, d := range diags {
		if d.Severity == istio.Error {
			errs = append(errs, clip(d.String()))
		} else {
			fmt.Fprintf(e.err, "warning: %s\n", clip(d.String()))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return &exitError{exitUsage, errors.New(strings.Join(errs, "\n"))}
}

// maxMessage bounds a message: whoever writes a megabyte into a name need not read it again.
const maxMessage = 1000

// clip shortens what is too long to be read, in the middle.
func clip(s string) string {
	if len(s) <= maxMessage {
		return s
	}
	return strings.ToValidUTF8(s[:maxMessage/2], "") + " … " +
		strings.ToValidUTF8(s[len(s)-maxMessage/2:], "")
}
