package engine

import (
	"encoding/json"
	"errors"
	"os"

	"github.com/mesh-lab/mesh-lab/meshcore/incarnation"
)

// The labels of everything that a lab makes.
const (
	LabLabel   = "mesh-lab.dev/lab"   // the lab's ID
	OwnerLabel = "mesh-lab.dev/owner" // the process that owns it: PID, start, and machine
	PodLabel   = "mesh-lab.dev/pod"   // POD.NAMESPACE
	PartLabel  = "mesh-lab.dev/part"  // pod, app, proxy, control, dns, hub
	imageLabel = "mesh-lab.dev/image" // which of the lab's images it is
)

// owner is the process that a container, a network or an image belongs to.
type owner struct {
	incarnation.Incarnation
	// Where is the machine and the name space that the PID means something in: several may share
	// one Docker.
	Where string `json:"where"`
}

// self is this process as an owner.
func self() (owner, error) {
	i, ok := incarnation.Self()
	if !ok {
		return owner{}, errors.New("docker: the system does not say when this process started")
	}
	return owner{i, where()}, nil
}

func where() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	if ns, err := os.Readlink("/proc/self/ns/pid"); err == nil {
		host += " " + ns
	}
	return host
}

// label is the owner as a label's value.
func (o owner) label() string {
	text, err := json.Marshal(o)
	if err != nil {
		panic("engine: " + err.Error()) // of strings and a number
	}
	return string(text)
}

// dead says whether a label names a process that has ended. Of one on another machine, or in
// another name space, nothing is known.
func dead(label string) bool {
	var o owner
	if json.Unmarshal([]byte(label), &o) != nil || o.PID < 1 {
		return false
	}
	return o.Where == where() && !o.Lives()
}
