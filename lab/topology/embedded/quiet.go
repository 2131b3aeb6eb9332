package embedded

import (
	"context"
	"log/slog"
)

// quiet returns a logger for apps, which log each request: what they inform of is for who debugs.
func quiet(l *slog.Logger) *slog.Logger { return slog.New(appHandler{l.Handler()}) }

// appHandler takes a level off what is not a problem.
type appHandler struct{ slog.Handler }

// Enabled says whether the lowered level is wanted.
func (h appHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return h.Handler.Enabled(ctx, lowered(l))
}

// Handle hands a record on.
func (h appHandler) Handle(ctx context.Context, r slog.Record) error {
	r.Level = lowered(r.Level)
	return h.Handler.Handle(ctx, r)
}

// WithAttrs keeps the levels lowered.
func (h appHandler) WithAttrs(a []slog.Attr) slog.Handler {
	return appHandler{h.Handler.WithAttrs(a)}
}

// WithGroup keeps the levels lowered.
func (h appHandler) WithGroup(name string) slog.Handler {
	return appHandler{h.Handler.WithGroup(name)}
}

func lowered(l slog.Level) slog.Level {
	if l < slog.LevelWarn {
		return l + slog.LevelDebug - slog.LevelInfo
	}
	return l
}
