package server

import (
	"log/slog"
	"sync/atomic"
	"time"
)

// warnEvery is how often the log is told what strangers can bring about at will.
const warnEvery = 10 * time.Second

// A seldom logs warnings, at most one in warnEvery.
type seldom struct {
	logger *slog.Logger
	last   atomic.Int64 // when it last did, in nanoseconds from began
}

func (s *seldom) warn(text string, args ...any) {
	now := int64(time.Since(began)) + 1
	if last := s.last.Load(); (last == 0 || now-last > int64(warnEvery)) && s.last.CompareAndSwap(last, now) {
		s.logger.Warn(text, args...)
	}
}
