package probe

import "testing"

// tokens are what ${NAME} stands for in the cases.
type tokens struct{}

func newTokens(t *testing.T) *tokens {
	t.Helper()
	return &tokens{}
}

func (*tokens) in(s string) string  { return s }
func (*tokens) out(s string) string { return s }
