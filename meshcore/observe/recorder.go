package observe

// Recorder collects the records of a run. It is safe for concurrent use.
type Recorder struct{}

// NewRecorder returns an empty recorder.
func NewRecorder() *Recorder { return &Recorder{} }

// Record takes a copy of r.
func (c *Recorder) Record(r *Request) {}

// Client takes a load generator's or request command's view of a request.
func (c *Recorder) Client(r *Client) {}

// Push records an update of a proxy, or changes the one that has the same proxy, type and version (its
// Acked or Nack).
func (c *Recorder) Push(p Push) {}

// Fault records something that was broken.
func (c *Recorder) Fault(f Fault) {}

// Change records something that the run did.
func (c *Recorder) Change(ch Change) {}

// Snapshot returns a copy of everything so far.
func (c *Recorder) Snapshot() History { return History{} }
