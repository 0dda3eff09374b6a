package page

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Attempts to log in: each client address has loginBurst at once and one more
// each loginEvery; all addresses together have allBurst and allPerSecond. The
// token has 256 random bits where the server made it, so the limits need not
// be low to keep it from being guessed; they keep one that an operator chose
// too short, and the log.
const (
	loginBurst   = 5
	loginEvery   = 10 * time.Second
	allBurst     = 60
	allPerSecond = 2
	maxCallers   = 4096
)

// A limiter bounds attempts to log in.
type limiter struct {
	now func() time.Time
	mu  sync.Mutex
	all *rate.Limiter
	by  map[netip.Prefix]*rate.Limiter
}

func newLimiter(now func() time.Time) *limiter {
	return &limiter{now: now, all: rate.NewLimiter(allPerSecond, allBurst), by: map[netip.Prefix]*rate.Limiter{}}
}

// allow reports whether addr may try to log in now; if not, it returns how
// long to wait. An IPv6 client commands a whole /64, so that is what counts.
// Callers without an address, and those for whom there is no room left, share
// one limit.
func (l *limiter) allow(addr netip.Addr) (wait time.Duration, ok bool) {
	bits := 32
	if addr = addr.Unmap(); addr.Is6() {
		bits = 64
	}
	caller, _ := addr.Prefix(bits) // the zero Prefix for the zero Addr
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.by[caller] == nil && len(l.by) >= maxCallers {
		for c, lim := range l.by {
			if lim.TokensAt(now) >= loginBurst {
				delete(l.by, c)
			}
		}
		if len(l.by) >= maxCallers {
			caller = netip.Prefix{}
		}
	}
	lim := l.by[caller]
	if lim == nil {
		lim = rate.NewLimiter(rate.Every(loginEvery), loginBurst)
		l.by[caller] = lim
	}
	if wait := delay(lim, now); wait > 0 {
		return wait, false
	}
	if wait := delay(l.all, now); wait > 0 {
		return wait, false
	}
	lim.AllowN(now, 1)
	l.all.AllowN(now, 1)
	return 0, true
}

// delay returns how long it takes until lim has a whole token; 0: it has one.
func delay(lim *rate.Limiter, now time.Time) time.Duration {
	missing := 1 - lim.TokensAt(now)
	if missing <= 0 {
		return 0
	}
	return time.Duration(missing / float64(lim.Limit()) * float64(time.Second))
}
