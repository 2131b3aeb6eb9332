package control

// Waiting says that a Set waits for proxies.
func (s *Server) Waiting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting != nil && len(s.waiting.pending) > 0
}
