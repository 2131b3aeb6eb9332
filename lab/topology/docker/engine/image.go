package engine

import (
	"archive/tar"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	corev1 "k8s.io/api/core/v1"
)

// Image says what an image is made of, FROM scratch: nothing need be pulled.
type Image struct {
	Kind       string // which of the lab's images: "part", "envoy"
	Files      []File
	Entrypoint []string
}

// File is a file of an image.
type File struct {
	Path string // in the image
	From string // on this machine; empty: Data
	Data []byte
	Mode int64
}

// repository is what the lab's images are called; the tag says what is in one.
const repository = "mesh-lab.dev/"

// Ensure makes an image, unless Docker has it already, and returns its name. The tag is a hash of
// the content, so that what runs is always what was built last.
func (e *Engine) Ensure(ctx context.Context, i Image) (name string, made bool, err error) {
	sum, err := i.hash()
	if err != nil {
		return "", false, err
	}
	name = repository + i.Kind + ":" + sum
	e.mu.Lock()
	e.images[name] = i
	e.mu.Unlock()
	if _, err := e.client.ImageInspect(ctx, name); err == nil {
		return name, false, nil
	} else if !cerrdefs.IsNotFound(err) {
		return "", false, fmt.Errorf("docker: image %s: %w", name, err)
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(i.write(w)) }()
	defer r.Close()
	entry := make([]string, len(i.Entrypoint))
	for n, s := range i.Entrypoint {
		entry[n] = fmt.Sprintf("%q", s)
	}
	res, err := e.client.ImageImport(ctx,
		client.ImageImportSource{Source: r, SourceName: "-"}, name,
		client.ImageImportOptions{Changes: []string{
			"ENTRYPOINT [" + strings.Join(entry, ",") + "]",
			"LABEL " + imageLabel + "=" + i.Kind,
			fmt.Sprintf("LABEL %s=%q", OwnerLabel, e.owner.label()),
		}})
	if err != nil {
		return "", false, fmt.Errorf("docker: make image %s: %w", name, err)
	}
	_, err = io.Copy(io.Discard, res) // it is made when all is read
	if err = errors.Join(err, res.Close()); err != nil {
		return "", false, fmt.Errorf("docker: make image %s: %w", name, err)
	}
	if _, err := e.client.ImageInspect(ctx, name); err != nil {
		return "", false, fmt.Errorf("docker: make image %s: %w", name, err)
	}
	return name, true, nil
}

// again makes an image anew that is not there any more: until a container uses it, another process
// may have removed it as one whose maker has ended. It is false when that is not so.
func (e *Engine) again(ctx context.Context, name string) bool {
	e.mu.Lock()
	i, ours := e.images[name]
	e.mu.Unlock()
	if !ours {
		return false
	}
	if _, err := e.client.ImageInspect(ctx, name); !cerrdefs.IsNotFound(err) {
		return false
	}
	_, _, err := e.Ensure(ctx, i)
	return err == nil
}

// Have sees to it that Docker has an image of the user's own: one that it does not have, or that is
// always to be fetched, it pulls. Without a policy one that is there will do, also with the tag
// latest: it may have been built here. The error is an *UnusableError.
func (e *Engine) Have(ctx context.Context, name string, policy corev1.PullPolicy) error {
	if policy != corev1.PullAlways {
		_, err := e.client.ImageInspect(ctx, name)
		switch {
		case err == nil:
			return nil
		case !cerrdefs.IsNotFound(err):
			return &UnusableError{Why: "image " + name, Err: err, Do: "is its name right?"}
		case policy == corev1.PullNever:
			return &UnusableError{Why: "it has no image " + name + ", and imagePullPolicy is Never",
				Do: "build it, or `docker load` it, or change the policy"}
		}
	}
	failed := func(err error) error {
		return &UnusableError{Why: "it can not pull image " + name, Err: err,
			Do: "build it here (`docker build -t " + name + " .`), or see that `docker pull` " +
				"can have it; annotation mesh-lab.dev/app has a bundled app take its place"}
	}
	r, err := e.client.ImagePull(ctx, name, client.ImagePullOptions{RegistryAuth: auth(ctx, name)})
	if err != nil {
		return failed(err)
	}
	defer r.Close()
	if err := r.Wait(ctx); err != nil {
		return failed(err)
	}
	return nil
}

// auth is what the user's Docker has noted for the registry of an image; empty: nothing.
func auth(ctx context.Context, image string) string {
	_, config, err := testcontainers.DockerImageAuth(ctx, image)
	if err != nil {
		return ""
	}
	text, err := json.Marshal(config)
	if err != nil {
		return ""
	}
	return base64.URLEncoding.EncodeToString(text)
}

// hash is of everything that is in the image.
func (i Image) hash() (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "1 %q", i.Entrypoint)
	for _, f := range i.Files {
		fmt.Fprintf(h, "%q %o ", f.Path, f.Mode)
		if err := f.copy(h); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

func (f File) copy(w io.Writer) error {
	if f.From == "" {
		_, err := w.Write(f.Data)
		return err
	}
	in, err := os.Open(f.From)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = io.Copy(w, in)
	return err
}

func (f File) size() (int64, error) {
	if f.From == "" {
		return int64(len(f.Data)), nil
	}
	i, err := os.Stat(f.From)
	if err != nil {
		return 0, err
	}
	return i.Size(), nil
}

// write writes the image's files as a tar, with the folders that they are in and one for temporary
// files.
func (i Image) write(out io.Writer) error {
	w := tar.NewWriter(out)
	folders := map[string]bool{".": true}
	folder := func(name string, mode int64) error {
		if folders[name] {
			return nil
		}
		folders[name] = true
		return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode,
			ModTime: time.Unix(0, 0)})
	}
	if err := folder("tmp", 0o1777); err != nil {
		return err
	}
	files := slices.Clone(i.Files)
	slices.SortFunc(files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	for _, f := range files {
		name := strings.TrimPrefix(path.Clean(f.Path), "/")
		for n, c := range name {
			if c == '/' {
				if err := folder(name[:n], 0o755); err != nil {
					return err
				}
			}
		}
		size, err := f.size()
		if err != nil {
			return err
		}
		err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: f.Mode,
			Size: size, ModTime: time.Unix(0, 0)})
		if err != nil {
			return err
		}
		if err := f.copy(w); err != nil {
			return err
		}
	}
	return w.Close()
}
