package observe

// Recorder collects what happens.
type Recorder struct{}
